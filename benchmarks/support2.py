"""Cross-validation of the methods on one cohort: everyone, and by how common a combination is.

    python benchmarks/support2.py [COHORT] [--methods default,paper,transformer,lightgbm,tabm]
        [--folds 5] [--seeds 3] [--edges 50,200] [--reference lightgbm,tabm] [--out DIR]
        [--set METHOD:key=value] [--jobs 2] [--report] [--json]

Each seed deals the patients anew into stratified folds (persons stay together if the cohort says
`group_by`). Each fold is predicted by a fit on the others, of which a stratified tenth is the
validation split. All methods get the same splits. What is shown:

- per method AUROC, accuracy, F1 and log loss, once per seed on the predictions of all folds
  together, averaged over seeds, for all patients and by the number of patients of the whole cohort
  that share the patient's combination of modalities; and seconds per fit and prediction;
- per block the difference default - other in AUROC and in log loss, averaged over seeds, with the
  95% interval of a paired bootstrap of persons (`remind.evaluation.compare`).

Set OMP_NUM_THREADS=1 with --jobs 1 for figures of time that compare with those of --jobs 2.

N patients.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
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
from remind.benchmark.splits import (
    block_of_size,
    cross_validation,
    parse_edges,
    size_blocks,
    size_of_combination,
)
from remind.benchmark.tables import figure, incomplete_text, markdown_table
from remind.cohort import Cohort
from remind.evaluation import METRICS, compare
from remind.evaluation.predictions import label_of, prob_of
from remind.methods import METHODS
from remind.sources import open_cohort

SHOWN = {"auroc": "AUROC", "accuracy": "accuracy", "f1": "F1", "log_loss": "log loss"}
COMPARED = ("auroc", "log_loss")
SUBJECT = "default"


def plan(
    cohort: Cohort,
    methods: Sequence[str],
    *,
    folds: int,
    seeds: int,
    folder: Path,
    sets: Sequence[str],
) -> list[Fit]:
    """Every fit, seed after seed and fold after fold."""
    check_sets(sets, methods)
    settings = {
        name: settings_for(name, METHODS[name].default_settings(), sets) for name in methods
    }
    return [
        Fit(
            name=name,
            part=f"seed{seed}-fold{number}",
            settings=replace(settings[name], seed=seed),
            cohort=fold,
            folder=folder,
        )
        for seed in range(seeds)
        for number, fold in enumerate(cross_validation(cohort, folds, seed))
        for name in methods
    ]


def measure(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Metrics of one method for all and for each block that has patients."""
    parts = {"all": frame} | {name: frame.loc[frame["block"] == name] for name in names}
    return {
        name: {"n": len(np.unique(part["id"])), **{metric: _mean(part, metric) for metric in SHOWN}}
        for name, part in parts.items()
        if len(part)
    }


def differences(
    frames: dict[str, pd.DataFrame], references: Sequence[str], num_boot: int
) -> dict[str, dict[str, Any]]:
    """Method -> block -> metric -> default - method, with interval and p-value."""
    if SUBJECT not in frames:
        return {}
    result = {}
    for name in references:
        if name in frames and name != SUBJECT:
            compared = compare(
                frames[name], frames[SUBJECT], metrics=COMPARED, block="block", num_boot=num_boot
            )
            blocks = compared["blocks"]
            result[name] = {"all": blocks.pop("overall"), **blocks}
    return result


def report(
    cohort: Cohort,
    fits: Sequence[Fit],
    *,
    edges: Sequence[int],
    references: Sequence[str],
    num_boot: int,
) -> dict[str, Any]:
    """Everything that is shown, of the methods that are complete."""
    size_N = size_of_combination(cohort, cohort.present_NM)
    block_of = pd.Series(block_of_size(size_N, edges), index=cohort.ids)
    frames, incomplete = complete(fits)
    frames = {
        name: frame.assign(block=block_of.loc[frame["id"]].to_numpy())
        for name, frame in frames.items()
    }
    names = size_blocks(edges)[::-1]
    return {
        "cohort": cohort.spec.cohort.name,
        "fingerprint": cohort.fingerprint,
        "methods": {
            name: {
                "seconds_per_fit": seconds_per_fit(frame),
                "blocks": measure(frame, names),
            }
            for name, frame in frames.items()
        },
        "default_minus": differences(frames, references, num_boot),
        "incomplete": incomplete,
    }


def text(result: dict[str, Any]) -> str:
    """The report as two Markdown tables."""
    rows = [
        [
            block,
            str(values["n"]),
            name,
            *(figure(values[metric]) for metric in SHOWN),
            figure(method["seconds_per_fit"], 1),
        ]
        for block in _blocks(result)
        for name, method in result["methods"].items()
        for values in [method["blocks"][block]]
    ]
    header = ["patients", "n", "method", *SHOWN.values(), "s per fit"]
    parts = [markdown_table(header, rows, left=3)] if rows else []
    against = [
        [block, f"{SUBJECT} - {name}", *(_difference(blocks[block][m]) for m in COMPARED)]
        for block in _blocks(result)
        for name, blocks in result["default_minus"].items()
    ]
    if against:
        header = ["patients", "difference", *(f"{SHOWN[m]} [95% interval]" for m in COMPARED)]
        parts.append(markdown_table(header, against, left=2))
    if result["incomplete"]:
        parts.append(incomplete_text(result["incomplete"]))
    return "\n".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing and print the report; the status is 1 if a fit failed."""
    arguments = _parser().parse_args(argv)
    methods = chosen(arguments.methods, METHODS, "method")
    references = chosen(arguments.reference or ",".join(METHODS), METHODS, "method")
    cohort = open_cohort(arguments.cohort)
    fits = plan(
        cohort,
        methods,
        folds=arguments.folds,
        seeds=arguments.seeds,
        folder=arguments.out or Path("runs/benchmark") / cohort.spec.cohort.name,
        sets=arguments.sets,
    )
    errors = [] if arguments.report else run_fits(fits, arguments.jobs)
    result = {
        "folds": arguments.folds,
        "seeds": arguments.seeds,
        "settings": {fit.name: without_seed(fit.settings) for fit in fits},
        **report(
            cohort,
            fits,
            edges=parse_edges(arguments.edges),
            references=references,
            num_boot=arguments.num_boot,
        ),
        "errors": errors,
    }
    print(json.dumps(result, allow_nan=False) if arguments.json else text(result))
    return 1 if errors else 0


def _parser() -> argparse.ArgumentParser:
    parser = base_parser("Cross-validation of the methods on one cohort.")
    parser.add_argument("cohort", nargs="?", default="support2", help="a source or a path")
    parser.add_argument("--methods", default=",".join(METHODS), help="to fit, with commas")
    parser.add_argument("--folds", type=at_least(2), default=5, help="of the cross-validation")
    parser.add_argument("--edges", default="50,200", help="sizes of combinations that cut blocks")
    parser.add_argument("--reference", help="what default is compared with (all the others)")
    parser.add_argument("--num-boot", type=at_least(1), default=1000, help="bootstrap resamples")
    return parser


def _mean(frame: pd.DataFrame, metric: str) -> float | None:
    """Mean over seeds; None if a seed leaves the metric undefined."""
    values = [METRICS[metric](label_of(part), prob_of(part)) for _, part in frame.groupby("seed")]
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if len(defined) == len(values) else None


def _blocks(result: dict[str, Any]) -> list[str]:
    return list(next(iter(result["methods"].values()))["blocks"]) if result["methods"] else []


def _difference(values: dict[str, Any]) -> str:
    difference = figure(values["difference"], sign=True)
    if values["ci"] is None:
        return difference
    low, high = (figure(bound, sign=True) for bound in values["ci"])
    return f"{difference} [{low}, {high}]"


if __name__ == "__main__":
    raise SystemExit(exit_status(main))
