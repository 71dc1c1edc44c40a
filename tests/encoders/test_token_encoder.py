"""Tokens of all kinds: one per observed modality, sorted by patient and there by modality."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remind.cohort import Batch, VectorModality, VectorSchema
from remind.encoders import TabularEncoder, TokenEncoder, VectorEncoder, vector
from remind.transfer import to_device
from tests.encoders.make import (
    plain_tokens,
    random_batch,
    random_presence,
    spoil_unobserved,
    tabular_schema,
    vector_schema,
)
from tests.fusion.reference import assert_same


def make() -> TokenEncoder:
    """A float64 encoder of both kinds, its zeros filled."""
    torch.manual_seed(0)
    schemas = {"tabular": tabular_schema(), "vector": vector_schema()}
    encoder = TokenEncoder(schemas, width=5, num_modalities=4, rank=3).double()
    for parameter in encoder.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return encoder


def padded(encoder: TokenEncoder, batch: Batch) -> Tensor:
    """Tokens (B, M, D), in slots whether observed or not; unobserved ones mean nothing."""
    tabular_encoder, vector_encoder = encoder.kinds["tabular"], encoder.kinds["vector"]
    assert isinstance(tabular_encoder, TabularEncoder)
    assert isinstance(vector_encoder, VectorEncoder)
    vector = batch.values["vector"]
    x_BMD = list(plain_tokens(tabular_encoder, batch).unbind(1))
    for i, (name, m) in enumerate((("ecg", 1), ("mri", 3))):
        x_BMD[m] = vector[name] @ vector_encoder.weights[i].mT + vector_encoder.biases[i]
    return torch.stack(x_BMD, dim=1) + encoder.modality_MD


@settings(max_examples=25, deadline=None)
@given(num_patients=st.integers(1, 6), seed=st.integers(0, 999))
def test_packed_equals_padded(num_patients, seed):
    """Sorted by patient, there by modality; values and the gradients of all parameters."""
    encoder = make()
    batch = random_batch(random_presence(num_patients, seed), seed)
    tokens = encoder(batch)
    owner_T, modality_T = batch.present_BM.nonzero(as_tuple=True)
    assert torch.equal(tokens.owner_T, owner_T)
    assert torch.equal(tokens.modality_T, modality_T)
    expected = padded(encoder, batch)[batch.present_BM]
    assert_same(tokens.x_TD, expected, list(encoder.parameters()))


@settings(max_examples=20, deadline=None)
@given(num_patients=st.integers(1, 6), seed=st.integers(0, 999))
def test_what_was_not_observed_cannot_matter(num_patients, seed):
    """NaN, infinity and other rows in unobserved modalities change no token and no gradient."""
    encoder = make()
    batch = random_batch(random_presence(num_patients, seed), seed)
    x_TD = encoder(batch).x_TD
    spoilt_TD = encoder(spoil_unobserved(batch)).x_TD
    assert torch.equal(spoilt_TD, x_TD)
    assert_same(spoilt_TD, x_TD, list(encoder.parameters()))


def test_patients_without_any_token_have_none():
    """An empty batch and a batch of absent modalities give no tokens, and no error."""
    encoder = make()
    for num_patients in (0, 3):
        tokens = encoder(random_batch(torch.zeros(num_patients, 4, dtype=torch.bool), 0))
        assert tokens.x_TD.shape == (0, 5)
        assert len(tokens.owner_T) == len(tokens.modality_T) == 0


def test_one_kind_alone_is_served():
    """A cohort may hold vectors only; two of them lie patient by patient."""
    encoder = TokenEncoder({"vector": vector_schema()}, width=5, num_modalities=4).double()
    present_BM = torch.tensor([[False, True, False, True], [False, False, False, True]])
    tokens = encoder(random_batch(present_BM, 0))
    assert tokens.owner_T.tolist() == [0, 0, 1]
    assert tokens.modality_T.tolist() == [1, 3, 3]


@pytest.mark.skipif(not hasattr(F, "grouped_mm"), reason="torch < 2.10 has no grouped GEMM")
@pytest.mark.parametrize("cast_to", [torch.bfloat16, None])
def test_vectors_of_one_length_are_one_grouped_gemm_in_mixed_precision(monkeypatch, cast_to):
    """On a GPU (here a device without values) weights of float32 are mapped as autocast has it."""
    found = []

    def grouped_mm(x_VF: Tensor, weight_IFD: Tensor, *, offs: Tensor) -> Tensor:
        found.append((x_VF.dtype, weight_IFD.dtype, len(offs)))
        return x_VF.new_empty(len(x_VF), weight_IFD.shape[2])

    monkeypatch.setattr(F, "grouped_mm", grouped_mm)
    monkeypatch.setattr(vector, "operand_dtype", lambda x: cast_to)
    items = [
        VectorModality(name=name, index=m, mean=(0.0,) * 16, std=(1.0,) * 16)
        for m, name in enumerate("ab")
    ]
    encoder = VectorEncoder(VectorSchema(modalities=tuple(items)), width=8, num_modalities=2)
    plan = to_device(encoder.plan(None, torch.ones(3, 2, dtype=torch.bool)), "meta")
    values = {name: torch.empty(3, 16, device="meta") for name in "ab"}
    tokens = encoder.to("meta").encode(values, plan)
    assert tokens.x_TD.shape == (6, 8)
    assert tokens.x_TD.dtype == (cast_to or torch.float32)
    assert found == [(cast_to, cast_to, 2)] * (cast_to is not None)
