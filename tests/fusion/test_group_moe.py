"""GroupMoE: what holds for every size, option and group."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remind.fusion import GroupContext, GroupMoE, MoEConfig, Packing
from tests.fusion.reference import assert_same, batch, plain_moe

COUNTS_G = torch.tensor([60, 20, 10])
SMALL = MoEConfig(experts=4, top_k=2, hidden=6, rank=2)
FULL = replace(SMALL, gate="shared", modulation=True, shared_expert=True, information=0.1)
SIZES = [2, 1, 3, 3, 1, 2, 2, 4]


def make(config: MoEConfig, *, shaken: bool = False) -> GroupMoE:
    """A float64 layer for 5 modalities and 3 groups, with its zeros filled if ``shaken``."""
    torch.manual_seed(0)
    moe = GroupMoE(8, config, num_modalities=5, counts_G=COUNTS_G).double()
    if shaken:
        for parameter in moe.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return moe


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), max_size=6),
    top_k=st.integers(1, 4),
    gate=st.sampled_from(["none", "shared"]),
    rank=st.sampled_from([0, 2]),
)
def test_it_starts_as_a_plain_mixture_of_experts(sizes, top_k, gate, rank):
    """With the group part at zero: equal to a plain MoE, values and gradients."""
    moe = make(replace(SMALL, top_k=top_k, rank=rank, gate=gate if rank else "none"))
    x_TD, packing, context = batch(sizes, 8)
    x_TD.requires_grad_()
    inputs = [x_TD, moe.router.shared_DE, moe.experts.w1_EDF, moe.experts.w2_EHD]
    assert_same(moe(x_TD, packing, context).x_TD, plain_moe(moe, x_TD), inputs)


@pytest.mark.parametrize("gate", ["none", "shared", "group"])
def test_groups_are_routed_in_their_own_way(gate):
    """The same tokens under another combination mix experts differently, with the group part on."""
    moe = make(replace(FULL, gate=gate), shaken=True)
    x_TD, packing, _ = batch([3, 2], 8)
    present = torch.tensor([[True, True, False, False, True]] * 2)
    outs = [
        moe(x_TD, packing, GroupContext.from_batch(p, torch.tensor([-1, -1]))).x_TD
        for p in (present, ~present)
    ]
    assert (outs[0] - outs[1]).abs().min() > 1e-6


@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("gate", ["none", "shared", "group"])
def test_gradient_reaches_every_parameter(gate, top_k):
    """No part of the layer is dead, in value or in penalty."""
    moe = make(replace(FULL, gate=gate, top_k=top_k), shaken=True)
    x_TD, packing, context = batch(SIZES, 8)
    out = moe(x_TD, packing, context)
    (out.x_TD.square().sum() + out.penalty).backward()
    for name, parameter in moe.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("gate", ["none", "shared", "group"])
def test_the_group_part_can_leave_its_start(gate):
    """At the start some of its parameters have a gradient: it is not stuck where it begins."""
    moe = make(replace(SMALL, gate=gate, balance=0, shrinkage=0))
    x_TD, packing, context = batch(SIZES, 8)
    moe(x_TD, packing, context).x_TD.square().sum().backward()
    for parameter in (moe.router.up_RE, moe.router.bias_RE):
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_permuting_patients_permutes_outputs():
    """The order of patients is of no consequence, nor is who else is in the batch."""
    moe = make(FULL, shaken=True)
    x_TD, packing, context = batch(SIZES, 8)
    out_TD = moe(x_TD, packing, context).x_TD
    order = torch.tensor([3, 1, 7, 0])
    token_P = torch.cat([(packing.owner_T == b).nonzero()[:, 0] for b in order])
    combo_B = context.combo_B[order]
    some = GroupContext.from_batch(context.present_UM[combo_B], context.group_U[combo_B])
    owner_P = torch.arange(4).repeat_interleave(torch.tensor(SIZES)[order])
    torch.testing.assert_close(moe(x_TD[token_P], Packing.of(owner_P), some).x_TD, out_TD[token_P])


def test_an_unseen_group_is_its_set_of_modalities():
    """It is finite, repeatable, and what a seen group of that set is with residual zero."""
    moe = make(FULL, shaken=True)
    x_TD, packing, _ = batch([3], 8)
    present = torch.tensor([[True, False, True, False, False]])
    unseen = GroupContext.from_batch(present, torch.tensor([-1]))
    seen = GroupContext.from_batch(present, torch.tensor([1]))
    out_TD = moe(x_TD, packing, unseen).x_TD
    assert out_TD.isfinite().all()
    assert torch.equal(out_TD, moe(x_TD, packing, unseen).x_TD)
    assert not torch.allclose(out_TD, moe(x_TD, packing, seen).x_TD)
    assert moe.code is not None
    moe.code.delta_GR.data[1] = 0
    torch.testing.assert_close(out_TD, moe(x_TD, packing, seen).x_TD)


def penalty(moe: GroupMoE, **weights: float) -> Tensor:
    """The penalty of a fixed batch under other weights."""
    none = {"balance": 0.0, "information": 0.0, "shrinkage": 0.0}
    moe.config = replace(moe.config, **(none | weights))
    return moe(*batch(SIZES, 8)).penalty


def test_shrinkage_is_harder_on_small_groups():
    """lambda * sum of ||delta_g||^2 * mean count / n_g, with mean count 30."""
    moe = make(SMALL, shaken=True)
    assert moe.code is not None
    square_G = moe.code.delta_GR.square().sum(1)
    expected = 0.5 * (square_G[0] / 2 + square_G[1] * 1.5 + square_G[2] * 3)
    torch.testing.assert_close(penalty(moe, shrinkage=0.5), expected)


def test_balance_follows_the_shares_of_experts():
    """Weight * (E * sum of share chosen * mean probability - 1)."""
    moe = make(SMALL, shaken=True)
    _, index_TK, probs_TE = moe.route(*batch(SIZES, 8))
    share_E = torch.stack([(index_TK == e).double().mean() for e in range(4)])
    torch.testing.assert_close(penalty(moe, balance=3.0), 3 * (4 * share_E @ probs_TE.mean(0) - 1))


def test_information_is_that_of_the_table_of_combinations_and_experts():
    """Minus weight * I(combination; expert), against entropies of the table of probabilities."""
    moe = make(SMALL, shaken=True)
    x_TD, packing, context = batch(SIZES, 8)
    probs_TE = moe.route(x_TD, packing, context).probs_TE
    combo_T = context.combo_B[packing.owner_T]
    rows = [probs_TE[combo_T == u].sum(0) for u in range(len(context.group_U))]
    joint_UE = torch.stack(rows) / len(x_TD)
    tables = (joint_UE.sum(0), joint_UE.sum(1), joint_UE.flatten())
    expert, combo, both = (torch.distributions.Categorical(table).entropy() for table in tables)
    torch.testing.assert_close(penalty(moe, information=2.0), -2 * (expert + combo - both))


def test_parameters_do_not_grow_with_the_number_of_combinations():
    """A modality more costs one embedding row, not twice the parameters; a group costs its rank."""

    def size(num_modalities: int, num_groups: int) -> int:
        counts_G = torch.ones(num_groups, dtype=torch.int64)
        moe = GroupMoE(8, SMALL, num_modalities=num_modalities, counts_G=counts_G)
        return sum(parameter.numel() for parameter in moe.parameters())

    assert size(64, 3) - size(63, 3) == size(6, 3) - size(5, 3) == 5 * SMALL.rank
    assert size(5, 1003) - size(5, 3) == 1000 * SMALL.rank


def test_a_million_groups_and_64_modalities_are_served():
    """The residuals are one row per group; nothing is ever of size 2^M."""
    counts_G = torch.ones(1_000_000, dtype=torch.int64)
    moe = GroupMoE(8, SMALL, num_modalities=64, counts_G=counts_G)
    present_BM = torch.rand(4, 64) < 0.5
    context = GroupContext.from_batch(present_BM, torch.tensor([999_999, -1, 0, 7]))
    out = moe(torch.randn(4, 8), Packing.of(torch.arange(4)), context)
    assert out.x_TD.isfinite().all()
    assert out.penalty.isfinite()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_k": 5}, r"top_k must be in 1\.\.4, got 5"),
        ({"top_k": 0}, r"top_k must be in 1\.\.4, got 0"),
        ({"experts": 0}, "experts must be at least 1, got 0"),
        ({"balance": -1.0}, r"balance must be at least 0, got -1\.0"),
        ({"shrinkage": float("nan")}, "shrinkage must be at least 0, got nan"),
        ({"activation": "glu"}, 'activation must be one of silu, gelu, relu, swiglu, got "glu"'),
        ({"gate": "grup"}, 'got "grup"; did you mean "group"'),
        ({"rank": 0, "modulation": True}, "modulation and gate need a group code: set rank"),
    ],
)
def test_wrong_values_are_refused(change, message):
    """The error names the value and what it may be."""
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


def test_groups_without_patients_are_refused():
    """A group of training has at least one patient."""
    with pytest.raises(ValueError, match=r"counts_G must hold counts of at least 1, got \[4, 0\]"):
        GroupMoE(8, SMALL, num_modalities=5, counts_G=torch.tensor([4, 0]))
