"""SoftGroupMoE: the paper's layer equals its padded reference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from remind.fusion import GroupContext, Packing, SoftGroupMoE, SoftMoEConfig
from tests.fusion.reference import assert_same, batch, loop_experts, padded_soft_moe

SIZES = [2, 1, 3, 3, 1, 2]


def make(gate: str = "shared", *, stage: int = 2, shaken: bool = True) -> SoftGroupMoE:
    """A float64 layer for 3 groups, its residuals filled if ``shaken``."""
    torch.manual_seed(0)
    moe = SoftGroupMoE(4, SoftMoEConfig(experts=3, hidden=5, gate=gate), num_groups=3).double()
    moe.set_stage(stage)
    if shaken:
        moe.residual_GDE.data += torch.randn_like(moe.residual_GDE)
        moe.scale.data += 1.5
    return moe


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    gate=st.sampled_from(["none", "shared", "group"]),
    seed=st.integers(0, 9),
)
def test_packed_equals_padded(sizes, gate, seed):
    """Values and gradients, for seen and unseen groups and every gate."""
    moe = make(gate)
    x_TD, packing, context = batch(sizes, 4, seed=seed)
    x_TD.requires_grad_()
    group_B = context.group_U[context.combo_B]
    expected = padded_soft_moe(moe, x_TD, packing.owner_T, group_B, gate)
    assert_same(moe(x_TD, packing, context).x_TD, expected, [x_TD, *moe.parameters()])


def test_residuals_wait_for_the_second_stage():
    """In stage 1 groups do not matter and get no gradient; the stage is part of the state."""
    moe = make(stage=1)
    x_TD, packing, context = batch(SIZES, 4)
    first = moe(x_TD, packing, context).x_TD
    first.sum().backward()
    assert moe.residual_GDE.grad is None
    moe.set_stage(2)
    assert not torch.allclose(moe(x_TD, packing, context).x_TD, first)
    copy = make(stage=1)
    copy.load_state_dict(moe.state_dict())
    assert torch.equal(copy(x_TD, packing, context).x_TD, moe(x_TD, packing, context).x_TD)


def test_zero_residuals_and_unseen_groups_are_the_shared_routing():
    """Stage 2 begins where stage 1 ended, and an unseen group falls back to Phi for good."""
    x_TD, packing, context = batch(SIZES, 4)
    moe = make(shaken=False)
    start = moe(x_TD, packing, context).x_TD
    unseen = GroupContext.from_batch(context.present_UM[context.combo_B], torch.full((6,), -1))
    moe.residual_GDE.data += torch.randn_like(moe.residual_GDE)
    fallback = moe(x_TD, packing, unseen).x_TD
    moe.set_stage(1)
    torch.testing.assert_close(start, moe(x_TD, packing, context).x_TD)
    torch.testing.assert_close(fallback, start)


def test_other_patients_do_not_matter():
    """A patient alone gets what it gets in the batch; no tokens, no output."""
    moe = make()
    x_TD, packing, context = batch(SIZES, 4)
    out_TD = moe(x_TD, packing, context).x_TD
    token_T = packing.owner_T == 2
    row = context.combo_B[2:3]
    alone = GroupContext.from_batch(context.present_UM[row], context.group_U[row])
    alone_TD = moe(x_TD[token_T], Packing.of(torch.zeros(3, dtype=torch.int64)), alone).x_TD
    torch.testing.assert_close(alone_TD, out_TD[token_T])
    assert moe(x_TD[:0], Packing.of(packing.owner_T[:0]), context).x_TD.shape == (0, 4)


def test_the_gate_that_reads_the_group_is_not_stuck_at_the_start():
    """Its residuals start where they have a gradient."""
    moe = make("group", shaken=False)
    x_TD, packing, context = batch(SIZES, 4)
    moe(x_TD, packing, context).x_TD.square().sum().backward()
    assert moe.residual_GDE.grad is not None
    assert moe.residual_GDE.grad.abs().sum() > 0


def test_route_gives_the_shares_of_experts():
    """A patient's only token fills every slot, so its output mixes all experts by these shares."""
    moe = make()
    x_TD, packing, context = batch([1, 1, 1], 4)
    index_TE = torch.arange(3).expand(3, 3)
    w1, w2 = moe.experts.w1_EDF, moe.experts.w2_EHD
    unit_TD = x_TD / x_TD.norm(dim=1, keepdim=True)
    share_TE = moe.route(x_TD, packing, context)
    expected = loop_experts(unit_TD, index_TE, share_TE, w1, w2, moe.experts.activation)
    torch.testing.assert_close(moe(x_TD, packing, context).x_TD, expected)


def test_wrong_values_are_refused():
    """The error names the value and what it may be."""
    with pytest.raises(ValueError, match="stage must be 1 or 2, got 3"):
        make().set_stage(3)
    with pytest.raises(ValueError, match="num_groups must be at least 1, got 0"):
        SoftGroupMoE(4, SoftMoEConfig(), num_groups=0)
    with pytest.raises(ValueError, match="experts must be at least 1, got 0"):
        SoftMoEConfig(experts=0)
