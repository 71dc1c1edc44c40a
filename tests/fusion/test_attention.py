"""Attention stays inside a patient and equals its padded reference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from remind.fusion import Attention, Packing
from tests.fusion.reference import assert_same, batch, padded_attention

SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=7)


@settings(max_examples=30, deadline=None)
@given(sizes=SIZES, num_heads=st.sampled_from([1, 2, 4]))
def test_packed_equals_padded(sizes, num_heads):
    """Values and gradients, for inputs and weights."""
    torch.manual_seed(0)
    attention = Attention(8, num_heads).double()
    x_TD, packing, _ = batch(sizes, 8)
    x_TD.requires_grad_()
    expected = padded_attention(attention, x_TD, packing.owner_T)
    assert_same(attention(x_TD, packing), expected, [x_TD, *attention.parameters()])


def test_tokens_of_other_patients_cannot_be_seen():
    """Changing one patient changes no other, and a batch without tokens gives none."""
    torch.manual_seed(0)
    attention = Attention(8, 2).double()
    x_TD, packing, _ = batch([2, 3, 2], 8)
    other_TD = torch.where(packing.owner_T.unsqueeze(1) == 1, x_TD + 1, x_TD)
    changed_T = (attention(x_TD, packing) - attention(other_TD, packing)).abs().sum(1) > 1e-9
    assert torch.equal(changed_T, packing.owner_T == 1)
    assert attention(x_TD[:0], Packing.of(packing.owner_T[:0])).shape == (0, 8)


def test_dropout_acts_in_training_only():
    """Two passes differ in training and agree in evaluation."""
    torch.manual_seed(0)
    attention = Attention(8, 2, dropout=0.5).double()
    x_TD, packing, _ = batch([5, 5], 8)
    assert not torch.equal(attention(x_TD, packing), attention(x_TD, packing))
    attention.eval()
    assert torch.equal(attention(x_TD, packing), attention(x_TD, packing))


def test_wrong_sizes_are_refused():
    """The error says which value was wrong."""
    with pytest.raises(ValueError, match="num_heads must divide width 8, got 3"):
        Attention(8, 3)
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\), got 1"):
        Attention(8, 2, dropout=1)
