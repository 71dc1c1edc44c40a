"""What a modality is worth: AUROC with everything, less AUROC without it, in two senses.

    python benchmarks/ablation.py COHORT [--by kind|modality] [--only NAME,…] [--how refit,masked]
        [--method default] [--folds 3] [--seeds 1] [--out DIR] [--set key=value] [--jobs 2]
        [--report] [--json]

COHORT is a folder, such as one that `remind prepare toy-hospital --out DIR --patients 3000` wrote.
Each seed deals the patients anew into stratified folds, persons together; each fold is predicted by
a fit on the others with all modalities, and then without each kind (or modality):

- refit: by a fit that never saw it. What is lost if the part were never recorded; the others make
  up for what they can. A fit per part and fold.
- masked: by the fit with everything, from which the part is hidden at prediction. What that model
  takes from the part; the others cannot make up for it. No more fits than with everything.

All predictions are for the same patients, also those who are then observed in nothing. What is
shown for all folds together: AUROC and log loss with everything and without the part, and the
difference, averaged over seeds, with the 95% interval of a paired bootstrap of persons
(`remind.evaluation.compare`). A part carries signal that the others do not if the interval of AUROC
lies above zero.

N patients, M modalities.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
from remind.benchmark.splits import cross_validation
from remind.benchmark.tables import figure, incomplete_text, markdown_table
from remind.cohort import Cohort
from remind.errors import InputError
from remind.evaluation import compare, write_predictions
from remind.methods import METHODS
from remind.sources import open_cohort
from remind.training import Run, fit_run

SHOWN = {"auroc": "AUROC", "log_loss": "log loss"}
ALL = "all"
HOWS = {
    "refit": "Refitted: what is lost if it had never been recorded.",
    "masked": "Masked: what the fit with everything loses if it is hidden at prediction.",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Whole(Fit):
    """A fit with everything, which then predicts without each part.

    Args:
        masked: what to predict, and the modalities to hide for it.
    """

    masked: Sequence[tuple[Fit, Sequence[str]]]

    def run(self) -> None:
        """Write the predictions without each part, and last those with everything."""
        start = time.perf_counter()
        run = fit_run(self.cohort, METHODS[self.settings.method], self.settings)
        test = self.cohort.select(self.cohort.rows("test"))
        whole = run.predict(test)
        whole["seconds"] = time.perf_counter() - start
        for fit, names in self.masked:
            frame = predict_masked(run, test, whole, names)
            write_predictions(frame.assign(method=fit.name), fit.file)
        write_predictions(whole.assign(method=self.name), self.file)


def predict_masked(
    run: Run, cohort: Cohort, whole: pd.DataFrame, names: Sequence[str]
) -> pd.DataFrame:
    """Predictions as if the patients lacked these modalities.

    Args:
        run: a fit with everything.
        cohort: whom to predict.
        whole: its predictions for them; they hold for who lacks the modalities anyway.
        names: of the modalities.
    """
    positions = [cohort.spec.modality_names.index(name) for name in names]
    rows = np.flatnonzero(cohort.present_NM[:, positions].any(axis=1))
    frame = whole.copy()
    if len(rows):
        present_NM = cohort.present_NM[rows].copy()
        present_NM[:, positions] = False
        hidden = run.predict(replace(cohort.select(rows), present_NM=present_NM))
        columns = [column for column in frame if column.startswith("prob_")]
        frame.loc[rows, columns] = hidden[columns].to_numpy()
    return frame


def parts_of(cohort: Cohort, by: str) -> dict[str, list[str]]:
    """Part -> its modalities, in the order of the cohort.

    Args:
        cohort: whose modalities.
        by: "kind" or "modality".
    """
    parts: dict[str, list[str]] = {}
    for name, modality in cohort.spec.modalities.items():
        parts.setdefault(modality.kind if by == "kind" else name, []).append(name)
    return parts


def without(cohort: Cohort, names: Sequence[str]) -> Cohort:
    """The same patients as if these modalities did not exist."""
    kept = [name for name in cohort.spec.modality_names if name not in names]
    positions = [cohort.spec.modality_names.index(name) for name in kept]
    spec = replace(cohort.spec, modalities={name: cohort.spec.modalities[name] for name in kept})
    return replace(
        cohort,
        spec=spec,
        values={name: cohort.values[name] for name in kept},
        present_NM=cohort.present_NM[:, positions],
        invalid={name: cohort.invalid[name] for name in kept if name in cohort.invalid},
    )


def plan(
    cohort: Cohort,
    parts: Mapping[str, Sequence[str]],
    *,
    hows: Sequence[str],
    method: str,
    folds: int,
    seeds: int,
    folder: Path,
    sets: Sequence[str],
) -> list[Fit]:
    """What to run: seed after seed, fold after fold, with everything and without each part."""
    check_sets(sets, [method])
    settings = settings_for(method, METHODS[method].default_settings(), sets)
    hidden = parts_of(cohort, "modality") | parts_of(cohort, "kind")
    fits: list[Fit] = []
    for seed in range(seeds):
        for number, fold in enumerate(cross_validation(cohort, folds, seed)):
            fit = Fit(
                name=ALL,
                part=f"seed{seed}-fold{number}",
                settings=replace(settings, seed=seed),
                cohort=fold,
                folder=folder,
            )
            masked = [
                (replace(fit, name=_name("masked", part)), names) for part, names in hidden.items()
            ]
            fits.append(Whole(**vars(fit), masked=masked))
            if "refit" in hows:
                fits += [
                    replace(fit, name=_name("refit", part), cohort=without(fold, names))
                    for part, names in parts.items()
                ]
    return fits


def report(
    fits: Sequence[Fit], parts: Mapping[str, Sequence[str]], hows: Sequence[str], num_boot: int
) -> dict[str, Any]:
    """Everything that is shown, of the parts that are complete."""
    masked = [fit for whole in fits if isinstance(whole, Whole) for fit, _ in whole.masked]
    shown = {_name(how, part) for how in hows for part in parts} | {ALL}
    frames, incomplete = complete(fit for fit in [*fits, *masked] if fit.name in shown)
    result: dict[str, Any] = {how: {} for how in hows} | {"incomplete": incomplete}
    for how in hows if ALL in frames else ():
        for part, modalities in parts.items():
            if (name := _name(how, part)) in frames:
                result[how][part] = {
                    "modalities": list(modalities),
                    "seconds_per_fit": seconds_per_fit(frames[name]),
                    **_differences(frames[name], frames[ALL], num_boot),
                }
    return result


def _differences(without: pd.DataFrame, whole: pd.DataFrame, num_boot: int) -> dict[str, Any]:
    compared = compare(without, whole, metrics=tuple(SHOWN), num_boot=num_boot)
    values = compared["blocks"]["overall"]
    metrics = {
        metric: {
            "all": values[metric]["other"],
            "without": values[metric]["reference"],
            "all_minus_without": values[metric]["difference"],
            "ci": values[metric]["ci"],
        }
        for metric in SHOWN
    }
    return {"n": values["n"], **metrics}


def text(result: dict[str, Any], hows: Sequence[str]) -> str:
    """The report as Markdown: a table for each way to leave out."""
    blocks = []
    for how in hows:
        rows = [
            [
                part,
                ", ".join(values["modalities"]),
                *_cells(values["auroc"]),
                *_cells(values["log_loss"]),
            ]
            for part, values in result[how].items()
        ]
        header = ["without", "modalities"]
        for words in SHOWN.values():
            header += [f"{words} with all", "without", "difference [95% interval]"]
        if rows:
            blocks.append(f"{HOWS[how]}\n\n{markdown_table(header, rows, left=2)}")
    return "\n".join(filter(None, [*blocks, incomplete_text(result["incomplete"])]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing and print the report; the status is 1 if a fit failed."""
    arguments = _parser().parse_args(argv)
    (method,) = chosen(arguments.method, METHODS, "method")
    hows = chosen(arguments.how, HOWS, "way to leave out")
    cohort = open_cohort(arguments.cohort)
    parts = parts_of(cohort, arguments.by)
    if arguments.only:
        parts = {part: parts[part] for part in chosen(arguments.only, parts, arguments.by)}
    if any(len(names) == len(cohort.spec.modalities) for names in parts.values()):
        raise InputError(f"{arguments.cohort} has one {arguments.by} only: nothing would be left")
    fits = plan(
        cohort,
        parts,
        hows=hows,
        method=method,
        folds=arguments.folds,
        seeds=arguments.seeds,
        folder=arguments.out or Path("runs/ablation") / cohort.spec.cohort.name,
        sets=arguments.sets,
    )
    errors = [] if arguments.report else run_fits(fits, arguments.jobs)
    result = {
        "cohort": cohort.spec.cohort.name,
        "fingerprint": cohort.fingerprint,
        "method": method,
        "folds": arguments.folds,
        "seeds": arguments.seeds,
        "settings": without_seed(fits[0].settings),
        **report(fits, parts, hows, arguments.num_boot),
        "errors": errors,
    }
    print(json.dumps(result, allow_nan=False) if arguments.json else text(result, hows))
    return 1 if errors else 0


def _parser() -> argparse.ArgumentParser:
    parser = base_parser("AUROC with everything, less AUROC without each part.")
    parser.set_defaults(seeds=1)
    parser.add_argument("cohort", help="a source or a path")
    parser.add_argument(
        "--by", choices=("kind", "modality"), default="kind", help="what is left out"
    )
    parser.add_argument(
        "--only", help="kinds or modalities to leave out, with commas (all of them)"
    )
    parser.add_argument("--how", default=",".join(HOWS), help="refit, masked or both, with a comma")
    parser.add_argument("--method", default="default", help="to fit")
    parser.add_argument("--folds", type=at_least(2), default=3, help="of the cross-validation")
    parser.add_argument("--num-boot", type=at_least(1), default=1000, help="bootstrap resamples")
    return parser


def _name(how: str, part: str) -> str:
    """Of a contender: the predictions without a part."""
    return f"{how} without {part}"


def _cells(values: dict[str, Any]) -> list[str]:
    interval = ""
    if values["ci"] is not None:
        low, high = (figure(bound, sign=True) for bound in values["ci"])
        interval = f" [{low}, {high}]"
    difference = figure(values["all_minus_without"], sign=True)
    return [figure(values["all"]), figure(values["without"]), difference + interval]


if __name__ == "__main__":
    raise SystemExit(exit_status(main))
