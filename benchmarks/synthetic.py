"""Distance to the optimum under concept shift: what the mixture and each objective are worth.

    python benchmarks/synthetic.py [--methods transformer,none,default] [--objectives erm,…]
        [--kappas 0,1] [--seeds 3] [--num-patients 20000] [--out DIR] [--set [NAME:]key=value]
        [--jobs 2] [--report] [--json]

Contenders: transformer+erm (plain, blind to groups), none+erm (our fusion without the part of the
groups), default with every objective, and any other method that is named, with its own objective.
On the test split of the source `synthetic`, whose optimal probabilities are known, this measures
the excess log loss over the optimum (a divergence, free of label noise) for all patients and by
band of the training count of their combination, at each strength kappa of concept shift. A seed
draws another cohort and another initialization.
What is shown, per kappa, contender and band:

- the mean over seeds of the excess log loss;
- the share of the excess of transformer+erm that is closed: 1 - mean excess / its mean excess;
- the excess of someone who knows everything but what is particular to one combination ("shared"),
  the least that can be reached for an unseen one;
- the difference of excess to transformer+erm and to default+erm: mean over seeds of the
  differences within a seed, and its standard error (undefined with one seed).

Models are selected on the validation split, as in any fit. N patients, S seeds.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from benchmarks.common import (
    Fit,
    at_least,
    base_parser,
    complete,
    exit_status,
    run_fits,
    seconds_per_fit,
)
from remind.benchmark.contenders import check_sets, chosen, settings_for, without_seed
from remind.benchmark.tables import figure, incomplete_text, markdown_table
from remind.cohort import BAND_NAMES
from remind.errors import InputError
from remind.evaluation.predictions import prob_of
from remind.methods import METHODS
from remind.objectives import OBJECTIVES
from remind.sources.synthetic import SyntheticConfig, excess_log_loss, load_synthetic
from remind.training import Settings, with_overrides

F = TypeVar("F", bound=Fit)
ARMS = ("transformer", "none", "default")
CHOICES = (*ARMS, *(name for name in METHODS if name not in ARMS))
BASELINE, OURS, FLOOR = "transformer+erm", "default+erm", "shared"
BLOCKS = ("all", *BAND_NAMES)
EXCESS = "excess log loss over the optimum (nats)"


def contenders(methods: Sequence[str], objectives: Sequence[str]) -> dict[str, Settings]:
    """Settings by name; the objectives are those of default. Other methods have their own."""
    default = METHODS["default"].default_settings()
    plain = METHODS["transformer"].default_settings()
    all_settings = {
        BASELINE: with_overrides(plain, ["objective=erm"]),
        "none+erm": with_overrides(
            default, ["mixture=none", "group_pooling=false", "objective=erm"]
        ),
    } | {f"default+{name}": with_overrides(default, [f"objective={name}"]) for name in objectives}
    all_settings |= {name: METHODS[name].default_settings() for name in CHOICES[len(ARMS) :]}
    return {
        name: settings
        for name, settings in all_settings.items()
        if name.partition("+")[0] in methods
    }


def plan(
    settings: dict[str, Settings],
    config: SyntheticConfig,
    *,
    name: str,
    seeds: int,
    folder: Path,
    kind: type[F] = Fit,
) -> tuple[list[F], dict[int, pd.DataFrame]]:
    """Every fit of a cohort, seed after seed, and per seed "optimum" and "shared" of each id.

    Args:
        settings: by contender.
        config: of the cohort; each seed draws another one.
        name: of the cohort, in the names of the fits.
        seeds: how many.
        folder: of the benchmark.
        kind: of the fits.
    """
    fits: list[F] = []
    optimum: dict[int, pd.DataFrame] = {}
    for seed in range(seeds):
        drawn = load_synthetic(replace(config, seed=seed))
        known = {"optimum": drawn.optimum_N, FLOOR: drawn.shared_N}
        optimum[seed] = pd.DataFrame(known, index=drawn.cohort.ids)
        fits += [
            kind(
                name=contender,
                part=f"{name}-seed{seed}",
                settings=replace(own, seed=seed),
                cohort=drawn.cohort,
                folder=folder,
            )
            for contender, own in settings.items()
        ]
    return fits, optimum


def excess_by_block(
    frame: pd.DataFrame, optimum: dict[int, pd.DataFrame], *, of_floor: bool = False
) -> pd.DataFrame:
    """Excess log loss in nats per patient: a row per seed, a column per block, NaN if empty."""
    rows = {}
    for seed, part in frame.groupby("seed"):
        known = optimum[int(str(seed))].loc[part["id"]]
        best_N, band_N = known["optimum"].to_numpy(), part["band"].to_numpy()
        prob_N = known[FLOOR].to_numpy() if of_floor else prob_of(part)[:, 1]
        in_block = {block: (band_N == block) | (block == "all") for block in BLOCKS}
        rows[seed] = {
            block: excess_log_loss(prob_N[is_in_N], best_N[is_in_N]) if is_in_N.any() else np.nan
            for block, is_in_N in in_block.items()
        }
    return pd.DataFrame.from_dict(rows, orient="index", columns=pd.Index(BLOCKS))


def report(fits: Sequence[Fit], optimum: dict[int, pd.DataFrame]) -> dict[str, Any]:
    """Everything that is shown at one kappa, of the contenders that are complete."""
    frames, incomplete = complete(fits)
    excess = {name: excess_by_block(frame, optimum) for name, frame in frames.items()}
    floor = [excess_by_block(frame, optimum, of_floor=True) for frame in frames.values()][:1]
    return {
        FLOOR: {block: _number(frame[block].mean()) for frame in floor for block in BLOCKS},
        "contenders": {
            name: {
                "seconds_per_fit": seconds_per_fit(frames[name]),
                "blocks": {block: _figures(excess, name, block) for block in BLOCKS},
            }
            for name in frames
        },
        "incomplete": incomplete,
    }


def text(result: dict[str, Any]) -> str:
    """The report as one Markdown table per kappa and quantity."""
    parts = []
    for kappa, part in result["kappas"].items():
        for title, show in _TABLES.items():
            rows = [
                [name, *(show(values["blocks"][block]) for block in BLOCKS)]
                for name, values in part["contenders"].items()
            ]
            if title == EXCESS and part[FLOOR]:
                rows.append([FLOOR, *(figure(part[FLOOR][block]) for block in BLOCKS)])
            if rows:
                parts.append(f"kappa = {kappa}: {title}\n\n{markdown_table(['', *BLOCKS], rows)}")
        if part["incomplete"]:
            parts.append(f"kappa = {kappa}\n\n{incomplete_text(part['incomplete'])}")
    return "\n".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing and print the report; the status is 1 if a fit failed."""
    arguments = _parser().parse_args(argv)
    settings = contenders(
        chosen(arguments.methods, CHOICES, "method"),
        chosen(arguments.objectives, OBJECTIVES, "objective"),
    )
    check_sets(arguments.sets, settings)
    settings = {name: settings_for(name, own, arguments.sets) for name, own in settings.items()}
    folder = arguments.out or Path("runs/benchmark/synthetic")
    plans = {}
    for kappa in numbers(arguments.kappas, "--kappas"):
        config = SyntheticConfig(num_patients=arguments.num_patients, kappa=kappa)
        plans[f"{kappa:g}"] = plan(
            settings, config, name=f"kappa{kappa:g}", seeds=arguments.seeds, folder=folder
        )
    fits = [fit for planned, _ in plans.values() for fit in planned]
    errors = [] if arguments.report else run_fits(fits, arguments.jobs)
    result = {
        "num_patients": arguments.num_patients,
        "seeds": arguments.seeds,
        "settings": {name: without_seed(own) for name, own in settings.items()},
        "kappas": {kappa: report(*planned) for kappa, planned in plans.items()},
        "errors": errors,
    }
    print(json.dumps(result, allow_nan=False) if arguments.json else text(result))
    return 1 if errors else 0


def _parser() -> argparse.ArgumentParser:
    parser = base_parser("Excess log loss over the optimum on the source synthetic.")
    of_them = f"with commas, of {', '.join(CHOICES)}"
    parser.add_argument("--methods", default=",".join(ARMS), help=of_them)
    parser.add_argument("--objectives", default=",".join(OBJECTIVES), help="of default")
    parser.add_argument("--kappas", default="0,1", help="strengths of concept shift, with commas")
    parser.add_argument("--num-patients", type=at_least(10), default=20_000, help="per cohort")
    return parser


def _figures(excess: dict[str, pd.DataFrame], name: str, block: str) -> dict[str, Any]:
    excess_S = {other: frame[block].to_numpy(dtype=float) for other, frame in excess.items()}
    own_S = excess_S[name]
    base = excess_S[BASELINE].mean() if BASELINE in excess else np.nan
    return {
        "excess": _number(own_S.mean()),
        "per_seed": [_number(value) for value in own_S],
        "gap_closed": _number(1 - own_S.mean() / base),
        **{
            f"minus_{other}": _difference(own_S - excess_S[other])
            for other in (BASELINE, OURS)
            if other in excess
        },
    }


def _difference(difference_S: np.ndarray) -> dict[str, Any]:
    """Mean over seeds of a difference within seeds, its standard error, and the differences."""
    num = len(difference_S)
    return {
        "mean": _number(difference_S.mean()),
        "se": _number(difference_S.std(ddof=1) / np.sqrt(num)) if num > 1 else None,
        "per_seed": [_number(value) for value in difference_S],
    }


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _with_error(values: dict[str, Any] | None) -> str:
    if values is None:
        return figure(None)
    return f"{figure(values['mean'], sign=True)} ± {figure(values['se'])}"


def _share(values: dict[str, Any]) -> str:
    share = values["gap_closed"]
    return figure(None if share is None else 100 * share, 0)


_TABLES = {
    EXCESS: lambda values: figure(values["excess"]),
    f"share of the excess of {BASELINE} closed (%)": _share,
    f"difference to {BASELINE} ± standard error": lambda v: _with_error(v.get(f"minus_{BASELINE}")),
    f"difference to {OURS} ± standard error": lambda v: _with_error(v.get(f"minus_{OURS}")),
}


def numbers(text: str, option: str) -> list[float]:
    """The numbers of a list with commas.

    Raises:
        InputError: something is no number.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(
            f'{option} takes numbers with commas, such as 0,1, got "{text}"'
        ) from error


if __name__ == "__main__":
    raise SystemExit(exit_status(main))
