"""Plain columns about images and series, which stand beside what their encoders learn."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from remind.cohort import (
    Cohort,
    Encoded,
    Encoding,
    cohort_from_frame,
    flat_table,
    read_cohort,
)
from remind.cohort.kinds.tabular import CellBatch
from remind.cohort.summary import SUMMARY
from remind.encoders.summary import SummaryEncoder
from remind.transfer import map_tensors
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


def cells(encoded: Encoded) -> list[tuple[list[int], list[float]]]:
    """Rows and fractions of every patient."""
    batch = encoded.batch(np.arange(len(encoded))).values[SUMMARY]
    owners = [batch.owner_V == n for n in range(len(encoded))]
    return [(batch.row_V[is_own].tolist(), batch.frac_V[is_own].tolist()) for is_own in owners]


def test_a_patient_is_encoded_alone_and_by_training_patients(
    cohort: Cohort, encoding: Encoding
) -> None:
    """In any company, from the training patients alone, and the same after a file."""
    test, whole = cohort.rows("test"), cells(encoding.transform(cohort))
    alone = cohort.select(test)
    expected = [whole[n] for n in test]
    assert cells(encoding.transform(alone)) == expected
    train = cohort.select(cohort.rows("train"))
    assert cells(Encoding.fit(train, np.arange(len(train))).transform(alone)) == expected
    assert cells(Encoding.from_dict(encoding.to_dict()).transform(alone)) == expected


def test_a_token_is_the_sum_of_its_columns(cohort: Cohort, encoding: Encoding) -> None:
    """Every number lies between the rows of its knots, whatever its usual value is."""
    schema = encoding.schemas[SUMMARY]
    assert max(schema.usual) >= 0 > min(schema.usual)
    names = [column.name for column in schema.columns]
    assert {"pictures_mean", "labs.lactate.slope", "labs.culture.last"} <= set(names)
    assert "pictures_files" not in names  # everybody who has pictures has one
    torch.manual_seed(0)
    encoder = SummaryEncoder(schema, width=6, num_modalities=3, rank=4)
    torch.nn.init.normal_(encoder.tabular.bend_NJr)
    with torch.no_grad():
        table_RD = encoder.tabular.table().numpy()
        batch = encoding.transform(cohort).batch(np.arange(NUM))
        tokens = encoder(batch.values[SUMMARY], batch.present_BM)
    flat = flat_table(encoding, cohort)
    x_FN = dict(zip(flat.names, flat.x_NF.T.astype(np.float64), strict=True))
    expected_NMD = np.zeros((NUM, 3, 6))
    for column in schema.columns:
        rows_JD = table_RD[column.first_row : column.missing_row]
        for n, value in enumerate(x_FN[column.name]):
            if np.isnan(value):
                embedding_D = table_RD[column.missing_row]
            elif column.kind == "categorical":
                embedding_D = rows_JD[int(value)]
            else:
                embedding_D = [np.interp(value, column.knots, rows_J) for rows_J in rows_JD.T]
            expected_NMD[n, column.modality] += embedding_D
    present_NM = cohort.present_NM & np.array([False, True, True])
    np.testing.assert_allclose(tokens.x_TD, expected_NMD[present_NM], rtol=2e-4, atol=2e-4)


def test_what_is_not_observed_has_no_cell(cohort: Cohort, encoding: Encoding) -> None:
    """Nor has what is hidden, before encoding or after; and training does not look at it."""
    frame = pd.DataFrame({"pid": [1, 2], "noise": [0.5, 1.0]})  # the labs lie in their own file
    without = cohort_from_frame(frame, cohort.spec, encoding=encoding)
    encoder = SummaryEncoder(encoding.schemas[SUMMARY], width=6, num_modalities=3, rank=4)
    labs_only_NM = cohort.present_NM & np.array([True, True, False])
    hidden = replace(cohort, present_NM=labs_only_NM)
    for some, modalities in ((cohort, {1, 2}), (without, {1}), (hidden, {1})):
        values = encoding.transform(some).values[SUMMARY]
        cells = CellBatch.of(values, np.arange(len(some.ids)))
        assert set(encoder.modality_of(map_tensors(torch.from_numpy, cells)).tolist()) == modalities
    batch = encoding.transform(cohort).batch(np.arange(NUM))
    late = batch.with_present(torch.from_numpy(labs_only_NM))
    early = encoding.transform(hidden).batch(np.arange(NUM))
    ours, theirs = (encoder(x.values[SUMMARY], x.present_BM) for x in (late, early))
    torch.testing.assert_close(ours.x_TD, theirs.x_TD)
    fitted = Encoding.fit(hidden, hidden.rows("train")).schemas[SUMMARY]
    assert {column.modality for column in fitted.columns} == {1}


def test_summaries_can_be_left_out(cohort: Cohort) -> None:
    encoding = Encoding.fit(cohort, cohort.rows("train"), summaries=False)
    assert SUMMARY not in encoding.transform(cohort).values


def test_the_gradient_reaches_every_parameter(cohort: Cohort, encoding: Encoding) -> None:
    encoder = SummaryEncoder(encoding.schemas[SUMMARY], width=6, num_modalities=3, rank=4)
    batch = encoding.transform(cohort).batch(np.arange(NUM))
    encoder(batch.values[SUMMARY], batch.present_BM).x_TD.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
