"""The contract of the Predictions table, and what is said when it is broken."""

import numpy as np
import pandas as pd
import pytest

from remind.errors import InputError
from remind.evaluation import check_predictions, classes_of, read_predictions, write_predictions


def test_classes_are_read_from_the_columns_in_their_order(make):
    frame = make(5).rename(columns={"prob_0": "prob_no", "prob_1": "prob_yes_1"})
    assert classes_of(frame) == ("no", "yes_1")


def test_a_written_table_is_read_back_and_nothing_else_is_left(make, tmp_path):
    frame = make(20)
    write_predictions(frame, tmp_path / "p.parquet")
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "p.parquet"), frame)
    assert [path.name for path in tmp_path.iterdir()] == ["p.parquet"]


def test_a_failed_write_leaves_the_file_that_was_there(make, tmp_path):
    path = tmp_path / "p.parquet"
    write_predictions(make(20), path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="Could not convert"):
        write_predictions(make(20).assign(extra=[1, "a"] * 10), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["p.parquet"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns=["band", "seed"]), "predictions lack band, seed; they need id"),
        (lambda f: f.drop(columns="prob_0"), "at least two classes, got 1"),
        (lambda f: f.iloc[:0], "hold no patient"),
        (lambda f: f.assign(label="2"), r'row 0 \(id p0\): label "2" is none of the classes 0, 1'),
        (lambda f: f.assign(label=1), 'label "1" is none of the classes 0, 1; labels are .* text'),
        (lambda f: f.assign(prob_0=0.9, prob_1=0.3), "must sum to 1, got 1.2"),
        (lambda f: f.assign(prob_0=1.1, prob_1=-0.1), r"must lie in 0..1, got 1.1, -0.1"),
        (lambda f: f.assign(prob_0=np.nan), "must lie in 0..1, got nan"),
        (lambda f: f.assign(band="rare"), 'band "rare" is none of head, medium, tail, unseen'),
        (lambda f: f.assign(n_train=-1), "n_train must be at least 0, got -1"),
        (lambda f: f.assign(id="a"), r"row 1 \(id a\): the patient comes twice"),
        (lambda f: f.assign(person=None), r"row 0 \(id p0\): person is empty"),
    ],
)
def test_a_broken_table_is_refused_by_row_and_reason(make, change, message):
    with pytest.raises(InputError, match=message):
        check_predictions(change(make(5)))


def test_a_file_that_is_absent_or_not_parquet_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not there"):
        read_predictions(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("id,label")
    with pytest.raises(InputError, match="not a Parquet file"):
        read_predictions(tmp_path / "text.parquet")
