"""The controlled study: are the two causes found where they are, and does each part answer one?

    python benchmarks/claims.py [--kappas 0,0.5,1] [--tails 0.7,1.2] [--seeds 5]
        [--num-patients 8000] [--out DIR] [--set [NAME:]key=value] [--jobs 2] [--report] [--json]

On the source `synthetic`, at each strength kappa of concept shift and each weight of the tail (Zipf
exponent over combinations), a 2x2 of our fusion with or without the part of the groups ("moe",
"none") and of the objectives long_tail_dro ("dro") and ERM ("erm"). A seed draws another cohort and
another initialization. What is shown, per kappa and tail:

- what `remind.analyses` finds in none+erm, which knows nothing of groups: Spearman's rho of the
  training count of a combination with the cosine of its gradient with the overall one, the same
  beyond what chance does to few patients, the share of combinations below the range of chance, and
  the excess loss of another combination's fusion function, with the share of seeds whose p <= .05;
- the excess log loss over the optimum of the 2x2, and the effects of its two parts and of both
  together (interaction), for all patients and by band.

Figures are means over seeds with the 95% interval of Student's t.

S seeds.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t as student

from benchmarks.common import Fit, at_least, base_parser, complete, exit_status, run_fits
from benchmarks.synthetic import BLOCKS, excess_by_block, numbers, plan
from remind.analyses import Options, diagnose
from remind.benchmark.contenders import check_sets, settings_for, without_seed
from remind.benchmark.tables import figure, incomplete_text, markdown_table
from remind.evaluation import write_predictions
from remind.methods import METHODS
from remind.sources.synthetic import SyntheticConfig
from remind.training import fit_run, with_overrides
from remind.training.files import read_json, write_json

PLAIN = ("mixture=none", "group_pooling=false")
ARMS = {
    "none+erm": (*PLAIN, "objective=erm"),
    "none+dro": (*PLAIN, "objective=long_tail_dro"),
    "moe+erm": ("objective=erm",),
    "moe+dro": ("objective=long_tail_dro",),
}
DIAGNOSED = "none+erm"
PARTS = ("gradients", "concept_shift")
FOUND = {
    "rho": "rho of size and cosine",
    "rho_beyond_chance": "the same beyond chance",
    "below_chance": "share below chance",
    "shift": "excess of another's function (nats)",
    "is_significant": "share of seeds with p ≤ .05",
}
EFFECTS = {
    "moe": "group MoE",
    "dro": "group DRO",
    "interaction": "interaction",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Study(Fit):
    """A fit whose model is also diagnosed; what is found lies beside its predictions."""

    @property
    def found(self) -> Path:
        """The file of what is found."""
        return self.file.with_suffix(".json")

    def run(self) -> None:
        """Fit, predict, diagnose if it is the arm for that, and write."""
        run = fit_run(self.cohort, METHODS[self.settings.method], self.settings)
        frame = run.predictions("test", self.cohort)
        if self.name == DIAGNOSED:
            options = Options(seed=self.settings.seed)
            write_json(self.found, found(diagnose(run, self.cohort, parts=PARTS, options=options)))
        write_predictions(frame.assign(method=self.name), self.file)


def found(diagnosis: dict[str, Any]) -> dict[str, float | None]:
    """The figures of a diagnosis that the study is about, None where one does not apply."""
    figures: dict[str, float | None] = dict.fromkeys(FOUND)
    if gradients := diagnosis["gradients"]:
        trained = gradients["trained"]
        figures["rho"] = trained["size"]["rho"]
        figures["rho_beyond_chance"] = trained["size_beyond_chance"]["rho"]
        figures["below_chance"] = trained["below_chance"]["share"]
    if shift := diagnosis["concept_shift"]:
        figures["shift"] = shift["overall"]["excess"]
        figures["is_significant"] = float(shift["overall"]["p"] <= 0.05)
    return figures


class Cell(NamedTuple):
    """All fits at one kappa and tail, and per seed what is known of each id."""

    name: str
    fits: list[Study]
    optimum: dict[int, pd.DataFrame]


def report(cell: Cell) -> dict[str, Any]:
    """Everything that is shown of one kappa and tail."""
    frames, incomplete = complete(cell.fits)
    excess = {arm: excess_by_block(frame, cell.optimum) for arm, frame in frames.items()}
    files = [fit.found for fit in cell.fits if fit.name == DIAGNOSED and fit.file.exists()]
    seen = [read_json(file) for file in files]
    return {
        "found": {key: over_seeds([one[key] for one in seen]) for key in FOUND},
        "excess": {
            arm: {block: over_seeds(frame[block]) for block in BLOCKS}
            for arm, frame in excess.items()
        },
        "effects": effects(excess) if len(excess) == len(ARMS) else None,
        "incomplete": incomplete,
    }


def effects(excess: dict[str, pd.DataFrame]) -> dict[str, dict[str, Any]]:
    """What each part changes, averaged over the other one, and how much more both do together."""
    none, dro, moe, both = (excess[arm] for arm in ARMS)
    contrasts = {
        "moe": (moe + both - none - dro) / 2,
        "dro": (dro + both - none - moe) / 2,
        "interaction": both - moe - dro + none,
    }
    return {
        name: {block: over_seeds(frame[block]) for block in BLOCKS}
        for name, frame in contrasts.items()
    }


def over_seeds(values: Any) -> dict[str, Any]:
    """Mean over seeds and its 95% interval of Student's t; None where there is none."""
    value_S = np.array([value for value in values if value is not None], dtype=float)
    value_S = value_S[np.isfinite(value_S)]
    if not len(value_S):
        return {"mean": None, "ci": None, "seeds": 0}
    ci = None
    if len(value_S) > 1:
        half = student.ppf(0.975, len(value_S) - 1) * value_S.std(ddof=1) / len(value_S) ** 0.5
        ci = [float(value_S.mean() - half), float(value_S.mean() + half)]
    return {"mean": float(value_S.mean()), "ci": ci, "seeds": len(value_S)}


def text(result: dict[str, Any]) -> str:
    """The report as three Markdown tables: causes, the 2x2, its effects."""
    cells = result["cells"]
    causes = [
        [name, *(_found(key, part["found"][key]) for key in FOUND)] for name, part in cells.items()
    ]
    two_by_two = [
        [name, arm, *(_shown(values[block]) for block in BLOCKS)]
        for name, part in cells.items()
        for arm, values in part["excess"].items()
    ]
    changes = [
        [name, EFFECTS[effect], *(_shown(values[block], sign=True) for block in BLOCKS)]
        for name, part in cells.items()
        for effect, values in (part["effects"] or {}).items()
    ]
    parts = [
        f"what is found in {DIAGNOSED}\n\n{markdown_table(['', *FOUND.values()], causes)}",
        f"excess log loss (nats)\n\n{markdown_table(['', 'arm', *BLOCKS], two_by_two, left=2)}",
        f"effects (nats)\n\n{markdown_table(['', 'part', *BLOCKS], changes, left=2)}",
    ]
    missing = [
        f"{name}\n\n{incomplete_text(part['incomplete'])}"
        for name, part in cells.items()
        if part["incomplete"]
    ]
    return "\n".join(parts + missing)


def _found(key: str, values: dict[str, Any]) -> str:
    if key == "is_significant":
        return figure(values["mean"], 1)
    return _shown(values, sign=True)


def _shown(values: dict[str, Any], *, sign: bool = False) -> str:
    mean = figure(values["mean"], sign=sign)
    if values["ci"] is None:
        return mean
    low, high = (figure(bound, sign=sign) for bound in values["ci"])
    return f"{mean} [{low}, {high}]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing and print the report; the status is 1 if a fit failed."""
    arguments = _parser().parse_args(argv)
    default = METHODS["default"].default_settings()
    check_sets(arguments.sets, ARMS)
    settings = {
        arm: settings_for(arm, with_overrides(default, list(sets)), arguments.sets)
        for arm, sets in ARMS.items()
    }
    folder = arguments.out or Path("runs/benchmark/claims")
    configs = [
        SyntheticConfig(num_patients=arguments.num_patients, kappa=kappa, tail=tail)
        for kappa in numbers(arguments.kappas, "--kappas")
        for tail in numbers(arguments.tails, "--tails")
    ]
    cells = []
    for config in configs:
        name = f"kappa{config.kappa:g}-tail{config.tail:g}"
        planned = plan(
            settings, config, name=name, seeds=arguments.seeds, folder=folder, kind=Study
        )
        cells.append(Cell(name, *planned))
    fits = [fit for cell in cells for fit in cell.fits]
    errors = [] if arguments.report else run_fits(fits, arguments.jobs)
    result = {
        "num_patients": arguments.num_patients,
        "seeds": arguments.seeds,
        "settings": {name: without_seed(own) for name, own in settings.items()},
        "cells": {cell.name: report(cell) for cell in cells},
        "errors": errors,
    }
    print(json.dumps(result, allow_nan=False) if arguments.json else text(result))
    return 1 if errors else 0


def _parser() -> argparse.ArgumentParser:
    parser = base_parser("Are the two causes found, and does each part of REMIND answer one?")
    parser.set_defaults(seeds=5)
    parser.add_argument("--kappas", default="0,0.5,1", help="strengths of concept shift")
    parser.add_argument("--tails", default="0.7,1.2", help="Zipf exponents over combinations")
    parser.add_argument("--num-patients", type=at_least(10), default=8_000, help="per cohort")
    return parser


if __name__ == "__main__":
    raise SystemExit(exit_status(main))
