"""Each objective's weights equal a plain oracle, and its limits are what they should be."""

# B patients of a batch, G groups

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remind.objectives import ERM, GroupCVaR, GroupDRO, PaperUpdate, Reweight
from remind.objectives.weights import ascend, tilt, worst_fraction
from tests.objectives import reference
from tests.objectives.reference import COUNTS, batch, group_means

COUNTS_G = torch.tensor(COUNTS)
SHARE_G = COUNTS_G / COUNTS_G.sum(dtype=torch.float64)
UNIFORM = [1 / len(COUNTS)] * len(COUNTS)


def masses(size: int) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(1e-3, 1), min_size=size, max_size=size)


def risks(size: int) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(-5, 5), min_size=size, max_size=size)


def normalized(values: list[float]) -> Tensor:
    values_G = torch.tensor(values, dtype=torch.float64)
    return values_G / values_G.sum()


def test_erm_is_the_mean() -> None:
    loss_B, group_B = batch()
    loss, weight_G = ERM(COUNTS_G)(loss_B.float(), group_B)
    assert float(loss) == pytest.approx(float(loss_B.mean()), rel=1e-6)
    assert torch.equal(weight_G, SHARE_G)


def test_reweight_of_power_0_is_erm_and_of_power_1_weighs_groups_alike() -> None:
    loss_B, group_B = batch()
    flat = Reweight(COUNTS_G, Reweight.Config(power=0))
    assert float(flat(loss_B, group_B).loss) == pytest.approx(float(loss_B.mean()), rel=1e-12)
    alike = Reweight(COUNTS_G, Reweight.Config(power=1))
    assert alike.weight_G.tolist() == pytest.approx(UNIFORM)


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_reweight_has_mean_1_over_the_training_patients(power: float) -> None:
    ratio_G = Reweight(COUNTS_G, Reweight.Config(power=power)).ratio(COUNTS_G)
    assert float((ratio_G * SHARE_G).sum()) == pytest.approx(1)
    assert float(ratio_G[4] / ratio_G[0]) == pytest.approx((400 / 5) ** power)


def test_group_dro_of_step_0_is_the_uniform_mean_of_group_means() -> None:
    loss_B, group_B = batch()
    objective = GroupDRO(COUNTS_G, GroupDRO.Config(step=0))
    means = group_means(loss_B.tolist(), group_B.tolist())
    for _ in range(3):
        assert float(objective(loss_B, group_B).loss) == pytest.approx(sum(means.values()) / 6)
    assert objective.weight_G.tolist() == pytest.approx(UNIFORM, rel=1e-14)


def test_group_dro_with_all_weight_on_the_worst_group_is_its_loss() -> None:
    loss_B, group_B = batch()
    objective = GroupDRO(COUNTS_G, GroupDRO.Config(step=1e5))
    means = group_means(loss_B.tolist(), group_B.tolist())
    assert float(objective(loss_B, group_B).loss) == pytest.approx(max(means.values()))


def test_the_adjustment_moves_the_weights_and_not_the_loss() -> None:
    loss_B, group_B = batch()
    objective = GroupDRO(COUNTS_G, GroupDRO.Config(step=0.3, adjustment=2.0))
    loss, weight_G = objective(loss_B, group_B)
    means = group_means(loss_B.tolist(), group_B.tolist())
    raised = {g: mean + 2 / math.sqrt(COUNTS[g]) for g, mean in means.items()}
    expected = reference.ascend(UNIFORM, raised, 0.3)
    assert weight_G.tolist() == pytest.approx(expected, rel=1e-12)
    assert float(loss) == pytest.approx(sum(expected[g] * mean for g, mean in means.items()))


def test_absent_groups_keep_their_weight_to_the_last_bit() -> None:
    objective = GroupDRO(COUNTS_G, GroupDRO.Config(step=0.5))
    objective(*batch(0))
    before_G = objective.weight_G.clone()
    for seed in range(200):
        loss_B, group_B = batch(seed, groups=[0, 2, 3])
        objective(loss_B * (1 + group_B), group_B)
    assert torch.equal(objective.weight_G[[1, 4, 5]], before_G[[1, 4, 5]])
    assert objective.weight_G[3] > 100 * objective.weight_G[0]


def test_a_weight_that_vanished_can_return() -> None:
    objective = GroupDRO(COUNTS_G[:2], GroupDRO.Config(step=1))
    group_B = torch.tensor([0, 1])
    objective(torch.tensor([2000.0, 0.0]), group_B)
    assert objective.weight_G[1] == 0
    objective(torch.tensor([0.0, 2010.0]), group_B)
    assert objective.weight_G[1] > 0.99


@given(mass=masses(5), risk=risks(5), present=st.lists(st.booleans(), min_size=5, max_size=5))
def test_ascend_equals_the_oracle(
    mass: list[float], risk: list[float], present: list[bool]
) -> None:
    weight_G = normalized(mass)
    seen = {g: risk[g] for g in range(5) if present[g]}
    moved_G = ascend(
        weight_G.log(), torch.tensor(risk, dtype=torch.float64), torch.tensor(present), 0.7
    ).exp()
    expected = reference.ascend(weight_G.tolist(), seen, 0.7) if seen else weight_G.tolist()
    assert moved_G.tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("start", ["uniform", "proportions"])
def test_the_papers_update_equals_the_oracle(start: str) -> None:
    config = PaperUpdate.Config(gamma=0.3, every=4, start=start)  # pyright: ignore[reportArgumentType]
    objective = PaperUpdate(COUNTS_G, config)
    batches = [batch(seed, groups=[0, 1, seed % 6]) for seed in range(23)]
    for loss_B, group_B in batches:
        objective(loss_B, group_B)
    first = UNIFORM if start == "uniform" else SHARE_G.tolist()
    plain = [(loss_B.tolist(), group_B.tolist()) for loss_B, group_B in batches]
    expected = reference.paper_weights(plain, first, gamma=0.3, every=4)
    assert objective.weight_G.tolist() == pytest.approx(expected, rel=1e-12)
    assert objective.weight_G.tolist() != pytest.approx(first, rel=1e-3)


def test_cvar_of_alpha_1_is_erm() -> None:
    loss_B, group_B = batch()
    loss, weight_G = GroupCVaR(COUNTS_G, GroupCVaR.Config(alpha=1))(loss_B, group_B)
    assert float(loss) == pytest.approx(float(loss_B.mean()), rel=1e-12)
    assert weight_G.tolist() == pytest.approx(SHARE_G.tolist())


def test_cvar_of_a_small_alpha_is_the_worst_group() -> None:
    loss_B, group_B = batch()
    loss_B = loss_B + (group_B == 3)
    objective = GroupCVaR(COUNTS_G, GroupCVaR.Config(alpha=0.01))
    assert objective(loss_B, group_B).weight_G.tolist() == pytest.approx([0, 0, 0, 1, 0, 0])


def test_cvar_leaves_groups_alone_that_no_batch_has_held() -> None:
    objective = GroupCVaR(COUNTS_G, GroupCVaR.Config(alpha=0.1))
    loss_B, group_B = batch(groups=[0, 1, 2])
    weight_G = objective(loss_B + 5 * (group_B == 1), group_B).weight_G
    assert torch.equal(weight_G[3:], SHARE_G[3:])
    assert float(weight_G[1]) == pytest.approx(float(SHARE_G[:3].sum()))


def test_an_old_loss_does_not_pass_for_a_bad_one() -> None:
    """Group 5 was last seen as the best of an early batch; all others have since fallen below."""
    objective = GroupCVaR(COUNTS_G, GroupCVaR.Config(alpha=0.1))
    loss_B, group_B = batch()
    objective(loss_B + 3 - (group_B == 5).double(), group_B)
    for seed in range(60):
        loss_B, group_B = batch(seed, groups=[0, 1, 2, 3, 4])
        objective(loss_B / 10, group_B)
    assert objective.running_G.argmin() == 5
    assert objective.weight_G[5] == 0


@given(mass=masses(6), risk=st.permutations(range(6)), alpha=st.floats(0.01, 1))
def test_cvar_weights_equal_the_oracle(mass: list[float], risk: list[int], alpha: float) -> None:
    share_G = normalized(mass)
    weight_G = worst_fraction(share_G, torch.tensor(risk, dtype=torch.float64), alpha)
    expected = reference.cvar_weights(share_G.tolist(), risk, alpha)
    assert weight_G.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(mass=masses(6), risk=risks(6), radius=st.floats(1e-4, 3))
@settings(deadline=None)
def test_the_ball_is_kept_and_used(mass: list[float], risk: list[float], radius: float) -> None:
    """KL <= radius always, and nothing in the ball is worse: the oracle's q has no higher risk."""
    share_G, risk_G = normalized(mass), torch.tensor(risk, dtype=torch.float64)
    weight_G = tilt(share_G, risk_G, radius)
    assert float(weight_G.sum()) == pytest.approx(1, abs=1e-12)
    assert reference.kl(weight_G.tolist(), share_G.tolist()) <= radius + 1e-12
    worst = reference.tilted(share_G.tolist(), risk, radius)
    expected = sum(q * r for q, r in zip(worst, risk, strict=True))
    spread = max(risk) - min(risk)
    assert float(weight_G @ risk_G) == pytest.approx(expected, abs=1e-3 * spread + 1e-9)


def test_a_radius_within_reach_is_met() -> None:
    share_G, risk_G = normalized([1, 2, 3, 4]), torch.tensor([0.4, 0.1, 0.3, 0.2]).double()
    for radius in (1e-6, 1e-3, 0.1, 1.0):
        weights = tilt(share_G, risk_G, radius).tolist()
        assert reference.kl(weights, share_G.tolist()) == pytest.approx(radius, rel=1e-3)
        assert weights == pytest.approx(
            reference.tilted(share_G.tolist(), risk_G.tolist(), radius), rel=1e-3
        )


def test_equal_risks_leave_the_empirical_distribution() -> None:
    weight_G = tilt(SHARE_G, torch.full((6,), 0.3, dtype=torch.float64), 0.5)
    assert weight_G.tolist() == pytest.approx(SHARE_G.tolist(), rel=1e-12)
