"""Packed tokens, and the combinations of a batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from remind.fusion import GroupContext, Packing


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=8))
def test_join_undoes_split_and_buckets_hold_whole_patients(sizes):
    """A bucket row is one patient with its tokens in order; patients without tokens have none."""
    owner_T = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes, dtype=torch.int64))
    packing = Packing.of(owner_T)
    token_T2 = torch.stack([owner_T, torch.arange(len(owner_T))], dim=1)
    buckets = packing.split(token_T2)
    assert torch.equal(packing.join(buckets), token_T2)
    for token_bn2 in buckets:
        assert (token_bn2[..., 0] == token_bn2[:, :1, 0]).all()
        assert (token_bn2[..., 1].diff(dim=1) == 1).all()
    assert sum(patients for patients, _ in packing.shapes) == sum(size > 0 for size in sizes)
    assert len({size for _, size in packing.shapes}) == len(packing.shapes)


def test_unsorted_owners_are_refused():
    """Tokens of one patient must lie side by side."""
    with pytest.raises(ValueError, match="owner_T must be sorted"):
        Packing.of(torch.tensor([0, 1, 0]))


@settings(max_examples=50, deadline=None)
@given(num_modalities=st.integers(1, 200), num_patients=st.integers(0, 30), seed=st.integers(0, 99))
def test_context_holds_each_combination_once(num_modalities, num_patients, seed):
    """It says of every patient what the batch said, in as few rows as there are distinct ones."""
    random = torch.Generator().manual_seed(seed)
    patterns = torch.rand(6, num_modalities, generator=random) < 0.5
    patterns[1] = patterns[0]
    patterns[1, -1] ^= True  # differs in the last modality only
    kind_B = torch.randint(6, (num_patients,), generator=random)
    present_BM = patterns[kind_B]
    group_B = torch.where(kind_B < 4, kind_B, -1)
    context = GroupContext.from_batch(present_BM, group_B)
    assert torch.equal(context.present_UM[context.combo_B], present_BM)
    assert torch.equal(context.group_U[context.combo_B], group_B)
    rows = {(*row, g) for row, g in zip(present_BM.tolist(), group_B.tolist(), strict=True)}
    assert len(context.group_U) == len(rows)
    assert context.seen_S.tolist() == sorted({*kind_B.tolist()} - {4, 5})
    with_none_P = torch.cat([context.seen_S, torch.tensor([-1])])
    assert torch.equal(with_none_P[context.place_U], context.group_U)


def test_one_combination_under_two_group_ids_stays_two():
    """Patients that kept their group while modalities were dropped keep it."""
    context = GroupContext.from_batch(torch.ones(3, 2, dtype=torch.bool), torch.tensor([5, -1, 5]))
    assert context.group_U[context.combo_B].tolist() == [5, -1, 5]
