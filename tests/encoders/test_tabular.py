"""Tabular tokens equal a plain padded sum, and a number's embedding bends only at its knots."""

import pickle
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remind.cohort import KINDS, TabularBatch, TabularSchema
from remind.encoders import TabularEncoder
from tests.encoders.make import (
    CATEGORIES,
    NUMBERS,
    plain_scores,
    plain_table,
    plain_tokens,
    random_batch,
    random_presence,
    spoil_unobserved,
    tabular_schema,
)
from tests.fusion.reference import assert_same, gradients


def make(*, shaken: bool = True) -> TabularEncoder:
    """A float64 encoder of width 5 and rank 3, its zeros filled if ``shaken``."""
    torch.manual_seed(0)
    encoder = TabularEncoder(tabular_schema(), width=5, num_modalities=4, rank=3).double()
    if shaken:
        for parameter in encoder.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return encoder


def embed(encoder: TabularEncoder, name: str, values: list[float]) -> Tensor:
    """Tokens of patients who differ in the value of one numeric column only, encoded as ever."""
    (column,) = (column for column in tabular_schema().columns if column.name == name)
    alone = TabularSchema(columns=(column,))
    raw = {"labs": pd.DataFrame({name: values})}
    present_NM = np.arange(4)[None].repeat(len(values), 0) == column.modality
    encoded = KINDS["tabular"].encode(alone, raw, present_NM)
    row_N = torch.from_numpy(encoded.row_NC[:, 0]).long()
    frac_N1 = torch.from_numpy(encoded.frac_NC).double()
    table_RD = encoder.table()
    return torch.lerp(table_RD[row_N], table_RD[row_N + 1], frac_N1)


@settings(max_examples=25, deadline=None)
@given(num_patients=st.integers(0, 6), seed=st.integers(0, 999))
def test_tokens_equal_the_padded_oracle(num_patients, seed):
    """Values and the gradients of all parameters, whoever is observed in whatever."""
    encoder = make()
    batch = random_batch(random_presence(num_patients, seed), seed)
    tokens = encoder(batch.values["tabular"], batch.present_BM)
    tabular_BM = batch.present_BM & torch.tensor([True, False, True, False])
    owner_T, modality_T = tabular_BM.nonzero(as_tuple=True)
    assert torch.equal(tokens.owner_T, owner_T)
    assert torch.equal(tokens.modality_T, modality_T)
    if num_patients:
        expected = plain_tokens(encoder, batch)[owner_T, modality_T]
        assert_same(tokens.x_TD, expected, list(encoder.parameters()))
    else:
        assert tokens.x_TD.shape == (0, 5)


def test_the_table_is_its_definition():
    """Every row, in the order of the schema, values and gradients."""
    encoder = make()
    assert len(encoder.table()) == tabular_schema().num_rows
    assert_same(encoder.table(), plain_table(encoder), list(encoder.parameters()))


@pytest.mark.parametrize("name", ["hr", "lactate", "ventilated"])
def test_an_embedding_is_continuous_and_linear_between_knots(name):
    """No jump at a knot, a straight line on each side of it, and flat beyond the outer ones."""
    knots, encoder = NUMBERS[name][1], make()
    for left, right in pairwise(knots):
        low, middle, high = embed(encoder, name, [left, (left + right) / 2, right])
        torch.testing.assert_close(middle, (low + high) / 2)
        torch.testing.assert_close(embed(encoder, name, [right * (1 - 1e-9)])[0], high)
        assert not torch.allclose(low, high)
    beyond = embed(encoder, name, [knots[0] - 100, knots[-1] + 100])
    torch.testing.assert_close(beyond, embed(encoder, name, [knots[0], knots[-1]]))


@pytest.mark.parametrize("name", ["hr", "lactate", "ventilated"])
def test_it_starts_linear_in_the_normal_scores(name):
    """At the start the slope between any two knots is the same; a bend of its own changes that."""
    knots, score_J = NUMBERS[name][1], torch.tensor(plain_scores(len(NUMBERS[name][1])))
    score_J1 = score_J.double().unsqueeze(1)
    slope_D = embed(make(shaken=False), name, list(knots)).diff(dim=0) / score_J1.diff(dim=0)
    torch.testing.assert_close(slope_D, slope_D[:1].expand_as(slope_D))
    bent_D = embed(make(), name, list(knots)).diff(dim=0) / score_J1.diff(dim=0)
    assert len(knots) == 2 or not torch.allclose(bent_D, bent_D[:1])


def test_gradient_reaches_every_parameter_from_the_start():
    """Nothing is stuck at its zeros."""
    encoder = make(shaken=False)
    batch = random_batch(torch.ones(60, 4, dtype=torch.bool), 0)
    x_TD = encoder(batch.values["tabular"], batch.present_BM).x_TD
    names = [name for name, _ in encoder.named_parameters()]
    for name, gradient in zip(names, gradients(x_TD, list(encoder.parameters())), strict=True):
        assert gradient.abs().sum() > 0, name


@settings(max_examples=20, deadline=None)
@given(num_patients=st.integers(1, 6), seed=st.integers(0, 999))
def test_what_was_not_observed_cannot_matter(num_patients, seed):
    """Rubbish in unobserved modalities changes no token and no gradient."""
    encoder = make()
    batch = random_batch(random_presence(num_patients, seed), seed)
    spoilt = spoil_unobserved(batch)
    x_TD = encoder(batch.values["tabular"], batch.present_BM).x_TD
    spoilt_TD = encoder(spoilt.values["tabular"], batch.present_BM).x_TD
    assert torch.equal(spoilt_TD, x_TD)
    assert_same(spoilt_TD, x_TD, list(encoder.parameters()))


@pytest.mark.parametrize("name", CATEGORIES)
def test_an_unknown_category_adds_nothing_to_its_token(name):
    """Training never meets one, so its row starts, and stays, at zero; a known one has a row."""
    encoder = make(shaken=False)
    (column,) = (column for column in tabular_schema().columns if column.name == name)
    assert torch.equal(encoder.table()[column.unknown_row], torch.zeros(5).double())
    known_VD = encoder.table()[column.first_row : column.unknown_row]
    assert (known_VD.abs().sum(1) > 0).all()
    assert encoder.table()[column.missing_row].abs().sum() > 0


def test_a_schema_without_numbers_or_without_categories_is_served():
    """Each kind of column may be the only one."""
    for column_name in ("hr", "ward"):
        columns = [column for column in tabular_schema().columns if column.name == column_name]
        first_row = columns[0].first_row
        schema = KINDS["tabular"].load(
            {"columns": [{**vars(columns[0]), "first_row": columns[0].first_row - first_row}]}
        )
        encoder = TabularEncoder(schema, width=5, num_modalities=4)
        values = TabularBatch(row_BC=torch.tensor([[1]]), frac_BC=torch.zeros(1, 1))
        tokens = encoder(values, torch.ones(1, 4, dtype=torch.bool))
        torch.testing.assert_close(tokens.x_TD[0], encoder.table()[1])
        assert tokens.modality_T.tolist() == [0]


def test_the_table_is_kept_while_the_weights_are_the_same():
    """Predictions of one patient after another share it; whatever changes the weights ends that."""
    encoder = make().eval()
    state = {name: 2 * value for name, value in encoder.state_dict().items()}
    size = len(pickle.dumps(encoder))
    assert encoder.table() is not encoder.table()  # a gradient may follow

    def kept() -> Tensor:
        with torch.inference_mode():
            assert encoder.table() is encoder.table()
            return encoder.table()

    kept()
    assert len(pickle.dumps(encoder)) == size
    for change in (
        lambda: encoder.slope_N1r.mul_(2),
        lambda: encoder.load_state_dict(state),
        lambda: encoder.float(),
        lambda: encoder.train().other_rows.data.mul_(2),
    ):
        with torch.no_grad():
            change()
        encoder.eval()
        torch.testing.assert_close(kept(), encoder.table(), rtol=0, atol=0)
