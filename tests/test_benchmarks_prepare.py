"""The benchmark of preparation: real columns, and contenders that find the same rows."""

import json
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import prepare_scale
from benchmarks.prepare_scale_files import COLUMNS, write_release
from tests.sources.mimic_columns import COLUMNS as REAL

ROWS = 12_000
LABS, CHARTS = ROWS // 3, ROWS - ROWS // 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scale")
    write_release(folder / f"mimic-{LABS}-{CHARTS}", LABS, CHARTS)
    return folder


def test_the_release_has_the_real_columns_and_the_rows_asked_for(folder: Path) -> None:
    raw = folder / f"mimic-{LABS}-{CHARTS}"
    files = {f"{file.parent.name}/{file.name[:-7]}": file for file in raw.rglob("*.csv.gz")}
    assert set(COLUMNS) < set(files)
    for table, file in files.items():
        assert list(pd.read_csv(file, nrows=0).columns) == REAL[table].split(), table
    labs = pd.read_csv(files["hosp/labevents"])
    charts = pd.read_csv(files["icu/chartevents"])
    assert (len(labs), len(charts)) == (LABS, CHARTS)
    assert labs["subject_id"].is_monotonic_increasing
    assert labs["valuenum"].isna().any()
    stays = pd.read_csv(files["icu/icustays"])
    assert set(charts["stay_id"]) == set(stays["stay_id"])


def test_all_contenders_find_the_same_rows(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """remind has more or fewer by the comparators, duplicates and outliers that it counts."""
    rows = ["--lab-rows", "0", "--chart-rows", "0", "--compare-rows", str(ROWS)]
    arguments = [*rows, "--folder", str(folder), "--pyhealth", "no-such-python"]
    assert prepare_scale.main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["comparison"]
    why_not = "no-such-python does not start: No such file or directory"
    assert found["pyhealth"] == {"why_not": why_not}
    pandas, chunks = found["pandas"], found["pandas-chunks"]
    assert pandas["num_series_rows"] == chunks["num_series_rows"] > 500
    assert pandas["sum_of_values"] == pytest.approx(chunks["sum_of_values"])
    assert found["remind"]["num_series_rows"] == pytest.approx(pandas["num_series_rows"], rel=0.03)
    assert f"pyhealth: not shown, {why_not}" in prepare_scale.text(
        {"comparison": found, "compare_rows": ROWS}
    )


def test_rows_of_one_table_only_are_refused(tmp_path: Path) -> None:
    arguments = ["--lab-rows", "10", "--chart-rows", "0", "--folder", str(tmp_path)]
    with pytest.raises(ValueError, match="must both be above 0, or both be 0"):
        prepare_scale.main(arguments)
