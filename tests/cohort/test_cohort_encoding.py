"""Laws of encoding: training rows alone decide, and every value finds its place."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from remind.cohort import (
    Bands,
    Cohort,
    CohortSpec,
    Encoded,
    Encoding,
    cohort_from_frame,
    flat_table,
    load_spec,
    read_cohort,
    spec_from_dict,
)
from tests.cohort.make import small_frame, write_cohort

FEATURES = ["hr", "ward", "lactate", "crp", "ventilated", "ecg"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"))


def cohort_of(values: Sequence[object] | np.ndarray, column: str = "x") -> Cohort:
    """A cohort of one column, next to one that is always there."""
    n = len(values)
    frame = pd.DataFrame({"i": range(n), "y": np.arange(n) % 2, "always": 1.0, column: values})
    return cohort_from_frame(frame, one_column_spec(column))


def one_column_spec(column: str = "x") -> CohortSpec:
    return spec_from_dict(
        {
            "cohort": {
                "name": "one",
                "table": "-",
                "id": "i",
                "label": "y",
                "task": "binary",
            },
            "split": {"val": 0.0, "test": 0.0},
            "modalities": {
                "a": {"kind": "tabular", "columns": ["always"]},
                "m": {"kind": "tabular", "columns": [column]},
            },
        },
        root=Path(),
    )


def same(first: Encoded, second: Encoded) -> bool:
    tabular = [item.values["tabular"] for item in (first, second)]
    vectors = [item.values["vector"]["ecg"] for item in (first, second)]
    return (
        np.array_equal(tabular[0].row_NC, tabular[1].row_NC)
        and np.array_equal(tabular[0].frac_NC, tabular[1].frac_NC)
        and np.array_equal(vectors[0], vectors[1])
        and np.array_equal(first.group_N, second.group_N)
        and np.array_equal(first.label_N, second.label_N)
        and np.array_equal(first.present_NM, second.present_NM)
    )


@given(seed=st.integers(0, 50))
@settings(max_examples=15)
def test_no_information_leaves_validation_or_test_rows(seed: int, folder: Path) -> None:
    spec, frame = load_spec(folder), small_frame()
    other = small_frame(seed=seed + 1)
    is_train = (frame["split"] == "train").to_numpy()
    for changed, moves in ((~is_train, False), (is_train, True)):
        mixed = frame.copy()
        for column in [*FEATURES, "died"]:
            mixed[column] = other[column].where(changed, frame[column])
        before, after = (cohort_from_frame(f, spec) for f in (frame, mixed))
        fits = [Encoding.fit(c, c.rows("train")).to_dict() for c in (before, after)]
        assert (fits[0] != fits[1]) == moves


@given(
    train=arrays(
        np.float64, st.integers(2, 60), elements=st.floats(-1e6, 1e6).map(lambda v: round(v, 2))
    ),
    new=arrays(np.float64, 20, elements=st.floats(-2e6, 2e6)),
    max_bins=st.integers(1, 8),
)
def test_numbers_are_interpolated_between_training_quantiles(
    train: np.ndarray, new: np.ndarray, max_bins: int
) -> None:
    cohort = cohort_of(np.concatenate([train, new]))
    encoding = Encoding.fit(cohort, np.arange(len(train)), max_bins=max_bins)
    column = encoding.schemas["tabular"].columns[1]
    knots = np.array(column.knots)
    assert len(knots) - 1 <= max_bins
    assert (np.diff(knots) > 0).all()
    assert (knots[0], knots[-1]) == (train.min(), train.max())

    encoded = encoding.transform(cohort).values["tabular"]
    table = np.random.default_rng(0).normal(size=encoding.schemas["tabular"].num_rows)
    row, frac = encoded.row_NC[:, 1], encoded.frac_NC[:, 1].astype(np.float64)
    fast = (1 - frac) * table[row] + frac * table[row + 1]
    mine = table[column.first_row : column.first_row + len(knots)]
    np.testing.assert_allclose(
        fast, np.interp(np.concatenate([train, new]), knots, mine), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    ("values", "knots"),
    [
        ([0, 1, 1, 0], (0.0, 1.0)),
        ([True, False, True, True], (0.0, 1.0)),
        ([True, None, False, True], (0.0, 1.0)),
        ([3, 3, 3, 3], (3.0,)),
        ([4, 2, 1, 3], (1.0, 2.0, 3.0, 4.0)),
    ],
)
def test_few_distinct_numbers_are_their_own_knots(values: list[object], knots: tuple) -> None:
    cohort = cohort_of(values)
    assert Encoding.fit(cohort, np.arange(4)).schemas["tabular"].columns[1].knots == knots


def test_missing_and_unknown_values_have_rows_of_their_own() -> None:
    cohort = cohort_of(["a", "b", None, "c", " ", "a "])
    encoding = Encoding.fit(cohort, np.array([0, 1, 2]))
    column = encoding.schemas["tabular"].columns[1]
    assert column.categories == ("a", "b")
    first = column.first_row
    row_N = encoding.transform(cohort).values["tabular"].row_NC[:, 1]
    assert row_N.tolist() == [first, first + 1, first + 3, first + 2, first + 3, first]
    assert (column.unknown_row, column.missing_row) == (first + 2, first + 3)
    assert encoding.schemas["tabular"].num_rows == first + 4 + 1  # and a spare one


def test_a_number_that_training_never_saw_at_all_is_missing() -> None:
    cohort = cohort_of([np.nan, np.nan, 5.0])
    encoding = Encoding.fit(cohort, np.array([0, 1]))
    column = encoding.schemas["tabular"].columns[1]
    assert column.knots == ()
    assert set(encoding.transform(cohort).values["tabular"].row_NC[:, 1]) == {column.missing_row}


def test_rows_of_columns_are_consecutive_and_know_their_modality(folder: Path) -> None:
    cohort = read_cohort(folder)
    schema = Encoding.fit(cohort, cohort.rows("train")).schemas["tabular"]
    assert schema.column_modality_C.tolist() == [0, 0, 1, 1, 1]
    ends = [column.first_row + column.num_rows for column in schema.columns]
    assert [column.first_row for column in schema.columns] == [0, *ends[:-1]]


def test_encoding_comes_back_from_json(folder: Path) -> None:
    cohort = read_cohort(folder)
    encoding = Encoding.fit(cohort, cohort.rows("train"), bands=Bands(head=9, medium=2))
    again = Encoding.from_dict(json.loads(json.dumps(encoding.to_dict())))
    assert same(encoding.transform(cohort), again.transform(cohort))
    assert again.classes == ("0", "1")
    assert again.groups.bands == Bands(head=9, medium=2)


def test_vectors_have_mean_0_and_std_1_in_training_and_0_where_unobserved(folder: Path) -> None:
    cohort = read_cohort(folder)
    train = cohort.rows("train")
    z_ND = Encoding.fit(cohort, train).transform(cohort).values["vector"]["ecg"]
    seen = z_ND[train][cohort.present_NM[train, 2]]
    np.testing.assert_allclose(seen.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(seen.std(axis=0), 1, atol=1e-6)
    assert (z_ND[~cohort.present_NM[:, 2]] == 0).all()


def test_a_modality_masked_in_the_cohort_leaves_no_trace(folder: Path) -> None:
    cohort = read_cohort(folder)
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    hidden = replace(cohort, present_NM=cohort.present_NM & np.array([True, False, False]))
    encoded, flat = encoding.transform(hidden), flat_table(encoding, hidden)
    columns = encoding.schemas["tabular"].columns
    assert (encoded.values["tabular"].row_NC[:, 2:] == [c.missing_row for c in columns[2:]]).all()
    assert (encoded.values["vector"]["ecg"] == 0).all()
    assert np.isnan(flat.x_NF[:, 2:]).all()


def test_batches_are_rows_of_the_encoded_cohort(folder: Path) -> None:
    cohort = read_cohort(folder)
    encoded = Encoding.fit(cohort, cohort.rows("train")).transform(cohort)
    rows = np.array([5, 3, 3])
    batch = encoded.batch(rows)
    assert len(batch) == 3
    assert (
        batch.values["tabular"].row_BC.tolist() == encoded.values["tabular"].row_NC[rows].tolist()
    )
    assert batch.values["tabular"].frac_BC.dtype == torch.float32
    assert batch.values["vector"]["ecg"].tolist() == encoded.values["vector"]["ecg"][rows].tolist()
    assert batch.label_B.tolist() == encoded.label_N[rows].tolist()
    assert batch.group_B.tolist() == encoded.group_N[rows].tolist()
    assert batch.present_BM.tolist() == cohort.present_NM[rows].tolist()
    assert (
        batch.to("cpu").values["tabular"].row_BC.tolist() == batch.values["tabular"].row_BC.tolist()
    )


def test_a_batch_with_fewer_modalities_finds_its_groups(folder: Path) -> None:
    cohort = read_cohort(folder)
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    batch = encoding.transform(cohort).batch(np.arange(20))
    fewer = batch.present_BM & torch.tensor([True, True, False])
    dropped = batch.with_present(fewer)
    assert dropped.group_B.tolist() == encoding.groups.ids(fewer.numpy()).tolist()
    assert dropped.group_B.tolist() != batch.group_B.tolist()
    assert batch.present_BM.tolist() == cohort.present_NM[:20].tolist()


def test_a_batch_on_a_device_knows_the_one_on_the_host(folder: Path) -> None:
    """Whatever is then hidden from it; here the device is the host again, or has no values."""
    cohort = read_cohort(folder)
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    batch = encoding.transform(cohort).batch(np.arange(20))
    assert batch.to("meta").to("meta").on_host() is batch
    unknown = replace(batch.to("meta"), host=None)
    assert unknown.to("meta").host is None
    fewer = batch.present_BM & torch.tensor([True, True, False])
    dropped, expected = replace(batch, host=batch).with_present(fewer), batch.with_present(fewer)
    for found in (dropped, dropped.on_host()):
        assert torch.equal(found.present_BM, expected.present_BM)
        assert torch.equal(found.group_B, expected.group_B)
    assert dropped.on_host() is not dropped


def test_flat_table_holds_numbers_codes_and_vectors(folder: Path) -> None:
    cohort = read_cohort(folder)
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    flat = flat_table(encoding, cohort)
    frame = small_frame()
    assert flat.names == [
        "hr",
        "ward",
        "lactate",
        "crp",
        "ventilated",
        *(f"ecg_{d}" for d in range(4)),
    ]
    assert (flat.categorical, flat.cardinalities) == ([1], [4])
    np.testing.assert_array_equal(flat.x_NF[:, 0], frame["hr"].to_numpy(np.float32))
    codes = frame["ward"].replace({"icu": 0, "medicine": 1, "surgery": 2}).astype(np.float32)
    np.testing.assert_array_equal(flat.x_NF[:, 1], codes)
    assert flat.x_NF[0, 5:].tolist() == frame["ecg"][0].tolist()
    assert flat.x_NF.dtype == np.float32
