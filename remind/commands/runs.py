"""Commands on runs: evaluate, predict, and the demo."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from remind.analyses.diagnose import PARTS, diagnose
from remind.analyses.options import Options
from remind.cohort import Bands, Cohort, read_table_for_prediction
from remind.cohort.arrays import chunks
from remind.errors import InputError
from remind.evaluation import band_plot, band_table, evaluate, write_predictions
from remind.evaluation.predictions import write_whole
from remind.methods import METHODS
from remind.report import write_report
from remind.run_files import DIAGNOSIS
from remind.sources import load_source
from remind.terminal import bands_in_words, fitted
from remind.training import Run, RunFolder, fit_run, make_progress, with_overrides
from remind.training.files import read_json

DEMO_COHORT = "support2"
DEMO_METHODS = ("default", "lightgbm")
DEMO_PARTS = ("long_tail", "routing", "group_weights", "calibration", "conformal")  # the quick ones
SPLITS = ("train", "val", "test")
PREDICTED_AT_ONCE = 1 << 18  # patients


def evaluate_run(run: Run, split: str) -> dict[str, Any]:
    """Evaluate a run on a split of the cohort it was fitted on, and keep the result in its folder.

    Raises:
        InputError: no such split, or the cohort is gone or has changed.
    """
    _check_split(split)
    bands = Bands(head=run.settings.bands_head, medium=run.settings.bands_medium)
    predictions = run.predictions(split, run.cohort())
    result = evaluate(predictions, cohort=run.origin.name, bands=bands)
    if run.folder is not None:
        write_predictions(predictions, run.folder.predictions)
        run.folder.write_evaluation(result)
    return result


def diagnose_run(
    run: Run, split: str, parts: Sequence[str] | None, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Explain a run, and keep the diagnosis in its folder.

    Parts that are not asked for stay as an earlier diagnosis of the same split has them.

    Args:
        run: of any method.
        split: whose patients are looked at.
        parts: of the diagnosis; all if None.
        tell: is told what is being done.

    Raises:
        InputError: no such split or part, or the cohort is gone or has changed.
    """
    _check_split(split)
    result = diagnose(
        run,
        run.cohort(),
        parts=parts,
        options=Options(split=split),
        on_part=lambda part: tell(f"diagnosing: {part.replace('_', ' ')}"),
    )
    if run.folder is not None:
        if parts is not None:
            result = _with_earlier(result, run.folder.path / DIAGNOSIS, parts)
        run.folder.write_diagnosis(result)
    return result


def predict_table(run: Run, table: str, out: Path) -> tuple[int, int]:
    """Predict for a table of patients and write the predictions.

    Returns:
        The numbers of patients, and of those with a combination that training never saw.

    Raises:
        InputError: the table does not fit the run, or the output has another suffix.
    """
    name = out.name.lower()
    if not name.endswith((".csv", ".csv.gz", ".parquet")):
        raise InputError(f"{out}: predictions are written as .csv, .csv.gz or .parquet: rename it")
    if not out.absolute().parent.is_dir():
        raise InputError(f"{out.parent} is no folder: make it, or write elsewhere")
    cohort = read_table_for_prediction(run.spec, table, encoding=run.encoding)
    parts = (_predict_part(run, cohort, rows) for rows in chunks(len(cohort), PREDICTED_AT_ONCE))
    write_whole(out, lambda path: _write(parts, path, is_parquet=name.endswith(".parquet")))
    num_unseen = np.count_nonzero(run.encoding.groups.ids(cohort.present_NM) < 0)
    return len(cohort), int(num_unseen)


def run_demo(out: Path, overrides: list[str], console: Console) -> None:
    """Fit our default and gradient-boosted trees on the built-in cohort, and compare them by band.

    Args:
        out: holds a run folder per method; those of an earlier demo are replaced.
        overrides: ``key=value`` for our method; the seed holds for both.
        console: where the result is shown.
    """
    cohort = load_source(DEMO_COHORT)
    runs: dict[str, Run] = {}
    evaluations: dict[str, dict[str, Any]] = {}
    for name in DEMO_METHODS:
        method = METHODS[name]
        keys = overrides if name == "default" else overrides[:1]
        settings = with_overrides(method.default_settings(), keys)
        folder = RunFolder(out / name)
        if folder.is_run:
            folder.clear()
        console.print(f"fitting {name} on {DEMO_COHORT} ({len(cohort)} patients)")
        runs[name] = fit_run(
            cohort,
            method,
            settings,
            folder.path,
            progress=make_progress(name),
            source=DEMO_COHORT,
        )
        console.print(fitted(runs[name]), soft_wrap=True)
        evaluations[name] = evaluate_run(runs[name], "test")
    console.print(
        f"\n{DEMO_COHORT}: in-hospital death, {evaluations['default']['n']} test patients"
    )
    console.print(band_table(evaluations))
    console.print(bands_in_words(evaluations["default"]["bands"]))
    picture = out / "bands.svg"
    band_plot(evaluations, picture)
    console.print(f"the same as a picture: {picture}", soft_wrap=True)
    diagnose_run(runs["default"], "test", DEMO_PARTS, lambda part: console.print(part))
    page = write_report([out / name for name in DEMO_METHODS])
    console.print(f"the report, for a browser: {page}", soft_wrap=True)


def _with_earlier(result: dict[str, Any], file: Path, asked: Sequence[str]) -> dict[str, Any]:
    """A diagnosis with the parts of an earlier one of the same patients that were not asked for."""
    try:
        earlier = read_json(file)
    except (OSError, ValueError):
        return result
    if any(earlier.get(key) != result[key] for key in ("cohort", "split", "method", "n")):
        return result
    kept = [part for part in PARTS if part not in asked]
    said = {
        key: {part: earlier[key][part] for part in kept if part in earlier.get(key, {})}
        | result[key]
        for key in ("absent", "seconds")
    }
    return result | {part: earlier.get(part) for part in kept} | said


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise InputError(f'split must be one of {", ".join(SPLITS)}, got "{split}"')


def _predict_part(run: Run, cohort: Cohort, rows: slice) -> pd.DataFrame:
    """The columns to write, for some patients."""
    frame = run.predict(cohort.select(np.arange(rows.start, rows.stop)))
    kept = {column: column for column in frame if str(column).startswith("prob_")}
    names = {"id": run.spec.cohort.id} | kept | {c: c for c in ("group", "n_train", "band")}
    return pd.DataFrame({name: frame[column] for column, name in names.items()})


def _write(parts: Iterator[pd.DataFrame], path: Path, *, is_parquet: bool) -> None:
    """Write the parts of a table one after the other; none is kept."""
    if not is_parquet:
        for number, part in enumerate(parts):
            part.to_csv(path, index=False, header=number == 0, mode="a" if number else "w")
        return
    first = pa.Table.from_pandas(next(parts), preserve_index=False)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for part in parts:
            writer.write_table(pa.Table.from_pandas(part, first.schema, preserve_index=False))
