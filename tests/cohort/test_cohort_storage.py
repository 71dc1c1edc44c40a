"""A cohort larger than memory is the same cohort."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from remind.cohort import Encoding, arrays, read_cohort, tables
from tests.cohort.make import write_cohort


@pytest.fixture
def everything_is_big(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REMIND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tables, "LAZY_BYTES", 0)
    monkeypatch.setattr(arrays, "BIG_BYTES", 1)
    monkeypatch.setattr(arrays, "RESIDENT_BYTES", 1)


def test_big_files_give_the_same_cohort_and_batches(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = write_cohort(tmp_path, suffix="parquet")
    plain = read_cohort(folder)
    rows = plain.rows("train")
    expected = Encoding.fit(plain, rows).transform(plain).batch(rows[::-1])
    request.getfixturevalue("everything_is_big")
    big = read_cohort(folder)
    assert big.fingerprint == plain.fingerprint
    encoding = Encoding.fit(big, rows)
    batch = encoding.transform(big).batch(rows[::-1])
    np.testing.assert_array_equal(batch.values["tabular"].row_BC, expected.values["tabular"].row_BC)
    np.testing.assert_array_equal(
        batch.values["tabular"].frac_BC, expected.values["tabular"].frac_BC
    )
    assert not any((tmp_path / "cache" / "work").iterdir()), "the files have no name"


def test_big_shards_name_the_file_and_row_of_an_error(
    tmp_path: Path, everything_is_big: None
) -> None:
    folder = write_cohort(tmp_path, suffix="parquet")
    table = pq.read_table(folder / "patients.parquet")
    place = table.column_names.index("hr")
    values = table["hr"].to_pylist()
    values[41] = float("inf")
    pq.write_table(table.slice(0, 30), folder / "a.parquet")
    table = table.set_column(place, "hr", pa.array(values))
    pq.write_table(table.slice(30), folder / "b.parquet")
    toml = (folder / "cohort.toml").read_text().replace("patients.parquet", "[ab].parquet")
    (folder / "cohort.toml").write_text(toml)
    with pytest.raises(ValueError, match=r'b\.parquet, row 12: column "hr" holds inf'):
        read_cohort(folder)


def test_what_is_released_is_still_there(everything_is_big: None) -> None:
    kept = arrays.keep(np.arange(100_000))
    arrays.release()
    np.testing.assert_array_equal(kept, np.arange(100_000))
    np.testing.assert_array_equal(arrays.gather(kept, np.array([7, 3])), [7, 3])
