"""What a modality is worth: AUROC with everything, less AUROC of a fit that never saw it.

    python benchmarks/ablation.py COHORT [--by kind|modality] [--only NAME,…] [--method default]
        [--folds 3] [--seeds 1] [--out DIR] [--set key=value] [--jobs 2] [--report] [--json]

COHORT is a folder, such as one that `remind prepare toy-hospital --out DIR --patients 1500` wrote.
Each seed deals the patients anew into stratified folds, persons together; each fold is predicted by
a fit on the others, once with all modalities and once without each kind (or modality). All fits of
a seed have the same splits and patients, also those who are then observed in nothing. What is shown
for all folds together: AUROC and log loss with everything and without the part, and the difference,
averaged over seeds, with the 95% interval of a paired bootstrap of persons
(`remind.evaluation.compare`). A part carries signal that the others do not if the interval of AUROC
lies above zero.

N patients, M modalities.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.common import (
    Fit,
    at_least,
    base_parser,
    check_sets,
    chosen,
    complete,
    exit_status,
    figure,
    incomplete_text,
    markdown_table,
    run_fits,
    seconds_per_fit,
    settings_for,
    without_seed,
)
from benchmarks.support2 import cross_validation
from remind.cohort import Cohort
from remind.errors import InputError
from remind.evaluation import compare
from remind.methods import METHODS
from remind.sources import open_cohort

SHOWN = {"auroc": "AUROC", "log_loss": "log loss"}
ALL = "all"


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
    parts: dict[str, list[str]],
    *,
    method: str,
    folds: int,
    seeds: int,
    folder: Path,
    sets: Sequence[str],
) -> list[Fit]:
    """Every fit: seed after seed, fold after fold, with everything and without each part."""
    check_sets(sets, [method])
    settings = settings_for(method, METHODS[method].default_settings(), sets)
    return [
        Fit(
            name=name,
            part=f"seed{seed}-fold{number}",
            settings=replace(settings, seed=seed),
            cohort=without(fold, left_out),
            folder=folder,
        )
        for seed in range(seeds)
        for number, fold in enumerate(cross_validation(cohort, folds, seed))
        for name, left_out in {ALL: [], **{_name(part): parts[part] for part in parts}}.items()
    ]


def report(fits: Sequence[Fit], parts: dict[str, list[str]], num_boot: int) -> dict[str, Any]:
    """Everything that is shown, of the parts that are complete."""
    frames, incomplete = complete(fits)
    result: dict[str, Any] = {"parts": {}, "incomplete": incomplete}
    if ALL not in frames:
        return result
    for part, modalities in parts.items():
        if _name(part) in frames:
            compared = compare(
                frames[_name(part)], frames[ALL], metrics=tuple(SHOWN), num_boot=num_boot
            )
            values = compared["blocks"]["overall"]
            result["parts"][part] = {
                "modalities": modalities,
                "n": values["n"],
                "seconds_per_fit": seconds_per_fit(frames[_name(part)]),
                **{
                    metric: {
                        "all": values[metric]["other"],
                        "without": values[metric]["reference"],
                        "all_minus_without": values[metric]["difference"],
                        "ci": values[metric]["ci"],
                    }
                    for metric in SHOWN
                },
            }
    return result


def text(result: dict[str, Any]) -> str:
    """The report as a Markdown table."""
    rows = [
        [
            part,
            ", ".join(values["modalities"]),
            *_cells(values["auroc"]),
            *_cells(values["log_loss"]),
        ]
        for part, values in result["parts"].items()
    ]
    header = ["without", "modalities"]
    for words in SHOWN.values():
        header += [f"{words} with all", "without", "difference [95% interval]"]
    shown = markdown_table(header, rows, left=2) if rows else ""
    return "\n".join(filter(None, [shown, incomplete_text(result["incomplete"])]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing and print the report; the status is 1 if a fit failed."""
    arguments = _parser().parse_args(argv)
    (method,) = chosen(arguments.method, METHODS, "method")
    cohort = open_cohort(arguments.cohort)
    parts = parts_of(cohort, arguments.by)
    if arguments.only:
        parts = {part: parts[part] for part in chosen(arguments.only, parts, arguments.by)}
    if any(len(names) == len(cohort.spec.modalities) for names in parts.values()):
        raise InputError(f"{arguments.cohort} has one {arguments.by} only: nothing would be left")
    fits = plan(
        cohort,
        parts,
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
        **report(fits, parts, arguments.num_boot),
        "errors": errors,
    }
    print(json.dumps(result, allow_nan=False) if arguments.json else text(result))
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
    parser.add_argument("--method", default="default", help="to fit")
    parser.add_argument("--folds", type=at_least(2), default=3, help="of the cross-validation")
    parser.add_argument("--num-boot", type=at_least(1), default=1000, help="bootstrap resamples")
    return parser


def _name(part: str) -> str:
    """Of a contender: the fits without a part."""
    return f"without {part}"


def _cells(values: dict[str, Any]) -> list[str]:
    interval = ""
    if values["ci"] is not None:
        low, high = (figure(bound, sign=True) for bound in values["ci"])
        interval = f" [{low}, {high}]"
    difference = figure(values["all_minus_without"], sign=True)
    return [figure(values["all"]), figure(values["without"]), difference + interval]


if __name__ == "__main__":
    raise SystemExit(exit_status(main))
