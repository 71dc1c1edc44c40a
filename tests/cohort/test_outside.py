"""Values that training never saw are counted: patient by patient, and column by column."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from remind.cohort import Encoding, cohort_from_frame, read_cohort, read_table_for_prediction
from remind.cohort.outside import Outside, empty_columns, outside
from tests.cohort.make import small_frame, write_cohort
from tests.cohort.make_events import write

SECTIONS = """\
[modalities.labs]
kind = "series"
table = "labs.csv"

[modalities.dx]
kind = "codes"
table = "dx.csv"
system = "icd10"
min_count = 1
"""


@pytest.fixture
def fitted(tmp_path: Path) -> Encoding:
    cohort = read_cohort(write_cohort(tmp_path, n=100))
    return Encoding.fit(cohort, cohort.rows("train"))


def found_in(tmp_path: Path, encoding: Encoding, frame: pd.DataFrame) -> Outside:
    cohort = cohort_from_frame(frame, read_cohort(tmp_path).spec, encoding=encoding)
    return outside(encoding, cohort)


def test_nothing_of_training_is_outside(tmp_path: Path, fitted: Encoding) -> None:
    """Also as 32-bit numbers, which a table to predict may hold."""
    frame = small_frame(n=100)
    train = frame[frame["split"] == "train"]
    for some in (train, train.assign(crp=train["crp"].astype(np.float32))):
        found = found_in(tmp_path, fitted, some)
        assert (found.num_N.sum(), found.unknown, found.beyond) == (0, {}, {})


def test_numbers_and_categories_of_a_table(tmp_path: Path, fitted: Encoding) -> None:
    """Missing values are not outside, and a modality that is not there has none."""
    frame = small_frame(n=100)
    frame = frame[frame["split"] == "train"].head(4)[["pid", "hr", "ward", "ecg"]]
    frame["hr"] = [1e6, -5.0, np.nan, 80.0]
    frame["ward"] = ["burns", "icu", "burns", None]
    found = found_in(tmp_path, fitted, frame)
    assert found.num_N.tolist() == [2, 1, 1, 0]
    assert (found.unknown, found.beyond) == ({"ward": 2}, {"hr": 2})


def test_columns_that_nobody_has_a_value_of(tmp_path: Path, fitted: Encoding) -> None:
    """Of a modality that somebody is observed in, and only of what training had."""
    frame = small_frame(n=100).head(4)[["pid", "hr", "ward", "crp", "lactate", "ventilated"]]
    frame["ward"] = "icu"
    frame[["hr", "crp", "lactate", "ventilated"]] = np.nan
    spec = read_cohort(tmp_path).spec
    assert empty_columns(fitted, cohort_from_frame(frame, spec, encoding=fitted)) == ("hr",)
    frame["hr"] = [80.0, None, None, None]
    assert empty_columns(fitted, cohort_from_frame(frame, spec, encoding=fitted)) == ()


def test_events_and_codes(tmp_path: Path) -> None:
    """An unknown variable counts whatever its value; an unknown code with a known ancestor not."""

    def write_events(folder: Path, events: list[tuple], codes: list[tuple]) -> None:
        events_columns = ["pid", "time", "variable", "value"]
        pd.DataFrame(events, columns=events_columns).to_csv(folder / "labs.csv", index=False)
        pd.DataFrame(codes, columns=["pid", "code"]).to_csv(folder / "dx.csv", index=False)

    folder = write(tmp_path / "cohort", SECTIONS)
    events = [(0, 0.0, "ph", 7.1), (1, 1.0, "ph", 7.5), (2, 1.0, "rhythm", "sinus")]
    write_events(folder, [*events, (3, 2.0, "rhythm", "flutter")], [(0, "I21.4"), (1, "E11.9")])
    cohort = read_cohort(folder)
    encoding = Encoding.fit(cohort, cohort.rows("train"))

    new = tmp_path / "new"
    new.mkdir()
    pd.DataFrame({"pid": [0, 1, 2, 3], "hr": 60.0}).to_csv(new / "new.csv", index=False)
    events = [(0, 0.0, "ph", 7.6), (0, 1.0, "ph", 7.0), (0, 2.0, "ph", 7.3)]
    events += [(1, 0.0, "Lactate", 2.0), (1, 1.0, "rhythm", "paced"), (2, 0.0, "rhythm", "sinus")]
    write_events(new, events, [(2, "I21.0"), (3, "Z99.9"), (3, "Z98.1")])
    found = outside(
        encoding, read_table_for_prediction(cohort.spec, new / "new.csv", encoding=encoding)
    )
    assert found.num_N.tolist() == [2, 2, 0, 2]
    assert found.beyond == {"labs.ph": 1}
    assert found.unknown == {"labs.Lactate": 1, "labs.rhythm": 1, "dx": 1}
