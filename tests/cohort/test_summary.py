"""Plain columns about images and series, which stand beside what their encoders learn."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from remind.cohort import Cohort, Encoded, Encoding, cohort_from_frame, read_cohort
from remind.cohort.kinds import SUMMARY
from tests.cohort.make_files import blob_images, write_files_cohort

NUM = 50
SERIES = """
[modalities.labs]
kind = "series"
table = "labs.csv"
time = "hour"
variable = "test"
value = "value"

[modalities.pictures]
"""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Every third patient lacks a picture, every fourth has no lab; one test is of words."""
    folder = tmp_path_factory.mktemp("summary") / "cohort"
    paths = [None if i % 3 == 0 else path for i, path in enumerate(blob_images(folder, NUM))]
    write_files_cohort(folder, paths, 'kind = "image"\nsize = [8, 8]\n')
    toml = folder / "cohort.toml"
    toml.write_text(toml.read_text().replace("\n[modalities.pictures]\n", SERIES))
    rng = np.random.default_rng(0)
    pid = np.repeat([i for i in range(NUM) if i % 4], 6)
    test = rng.choice(["lactate", "crp", "culture"], len(pid))
    number = rng.gamma(2, size=len(pid)).round(2).astype(str)
    value = np.where(test == "culture", rng.choice(["positive", "negative"], len(pid)), number)
    labs = {"pid": pid, "hour": rng.uniform(0, 48, len(pid)), "test": test, "value": value}
    pd.DataFrame(labs).to_csv(folder / "labs.csv", index=False)
    return read_cohort(folder)


@pytest.fixture(scope="module")
def encoding(cohort: Cohort) -> Encoding:
    return Encoding.fit(cohort, cohort.rows("train"))


def assert_same(encoded: Encoded, other: Encoded) -> None:
    ours, theirs = encoded.values[SUMMARY], other.values[SUMMARY]
    np.testing.assert_array_equal(ours.row_NC, theirs.row_NC)
    np.testing.assert_array_equal(ours.frac_NC, theirs.frac_NC)


def test_a_patient_is_encoded_alone_and_by_training_patients(
    cohort: Cohort, encoding: Encoding
) -> None:
    """In any company, from the training patients alone, and the same after a file."""
    test = cohort.rows("test")
    alone = cohort.select(test)
    whole = encoding.transform(cohort).values[SUMMARY]
    part = encoding.transform(alone).values[SUMMARY]
    np.testing.assert_array_equal(part.row_NC, whole.row_NC[test])
    np.testing.assert_array_equal(part.frac_NC, whole.frac_NC[test])
    train = cohort.select(cohort.rows("train"))
    assert_same(
        Encoding.fit(train, np.arange(len(train))).transform(alone), encoding.transform(alone)
    )
    assert_same(Encoding.from_dict(encoding.to_dict()).transform(alone), encoding.transform(alone))


def test_a_column_is_known_where_its_modality_is_observed(
    cohort: Cohort, encoding: Encoding
) -> None:
    """The mean of the grey of who has a picture; nothing of who has none, or has it hidden."""
    schema = encoding.schemas[SUMMARY]
    names = [column.name for column in schema.columns]
    assert {"pictures_mean", "labs.lactate.slope", "labs.culture.last"} <= set(names)
    assert "pictures_files" not in names  # everybody has one
    missing_C = np.array([column.missing_row for column in schema.columns])
    row_NC = encoding.transform(cohort).values[SUMMARY].row_NC
    c = names.index("pictures_mean")
    np.testing.assert_array_equal(row_NC[:, c] != missing_C[c], np.arange(NUM) % 3 != 0)
    frame = pd.DataFrame(
        {"pid": [1, 2], "noise": [0.5, 1.0]}
    )  # the labs lie in a file of their own
    without = cohort_from_frame(frame, cohort.spec, encoding=encoding)
    hidden = replace(cohort, present_NM=np.zeros_like(cohort.present_NM))
    for some in (cohort, without, hidden):
        is_missing_NC = encoding.transform(some).values[SUMMARY].row_NC == missing_C
        assert is_missing_NC[~some.present_NM[:, schema.column_modality_C]].all()


def test_summaries_can_be_left_out(cohort: Cohort) -> None:
    encoding = Encoding.fit(cohort, cohort.rows("train"), summaries=False)
    assert SUMMARY not in encoding.transform(cohort).values
