"""Chi-square DRO: the worst distribution of the ball, over groups and over patients."""

# B patients of a batch, G groups

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from remind.errors import InputError
from remind.objectives import ChiSquare
from remind.objectives.weights import worst_chi_square
from tests.objectives.reference import COUNTS, batch, group_means

COUNTS_G = torch.tensor(COUNTS)
SHARES = [count / sum(COUNTS) for count in COUNTS]


def divergence(weights: list[float], shares: list[float]) -> float:
    """1/2 sum p (q / p - 1)^2."""
    return sum(p * (q / p - 1) ** 2 for q, p in zip(weights, shares, strict=True)) / 2


def worst_value(shares: list[float], risks: list[float], radius: float) -> float:
    """The dual: min over eta of sqrt(1 + 2 radius) sqrt(E (risk - eta)_+^2) + eta."""

    def dual(eta: float) -> float:
        square = sum(p * max(r - eta, 0) ** 2 for p, r in zip(shares, risks, strict=True))
        return math.sqrt((1 + 2 * radius) * square) + eta

    spread = max(risks) - min(risks) + 1e-9
    low = min(risks) - spread / math.sqrt(2 * radius) - spread
    found = minimize_scalar(dual, bounds=(low, max(risks)), method="bounded", options={"xatol": 0})
    return float(found.fun)  # pyright: ignore[reportAttributeAccessIssue]


@given(
    mass=st.lists(st.floats(1e-3, 1), min_size=6, max_size=6),
    risk=st.lists(st.floats(-5, 5), min_size=6, max_size=6),
    radius=st.floats(1e-4, 50),
)
def test_the_weights_are_the_worst_of_the_ball(
    mass: list[float], risk: list[float], radius: float
) -> None:
    """They lie in the ball, and no distribution of it is worse: they reach the dual's value."""
    shares = [m / sum(mass) for m in mass]
    weight_G = worst_chi_square(
        torch.tensor(shares, dtype=torch.float64), torch.tensor(risk, dtype=torch.float64), radius
    )
    weights = weight_G.tolist()
    assert min(weights) >= 0
    assert sum(weights) == pytest.approx(1, abs=1e-9)
    assert divergence(weights, shares) <= radius * (1 + 1e-6) + 1e-9
    value = sum(q * r for q, r in zip(weights, risk, strict=True))
    assert value == pytest.approx(worst_value(shares, risk, radius), abs=1e-4)


def test_a_small_ball_tilts_linearly_and_a_large_one_holds_the_worst_alone() -> None:
    share_G = torch.tensor(SHARES, dtype=torch.float64)
    risk_G = torch.tensor([0.1, 0.3, 0.2, 0.9, 0.4, 0.5], dtype=torch.float64)
    mean = (share_G * risk_G).sum()
    deviation = (share_G * (risk_G - mean) ** 2).sum().sqrt()
    tilted_G = share_G * (1 + math.sqrt(2e-4) * (risk_G - mean) / deviation)
    small_G = worst_chi_square(share_G, risk_G, 1e-4)
    assert small_G.tolist() == pytest.approx(tilted_G.tolist(), rel=1e-9)
    large_G = worst_chi_square(share_G, risk_G, 1e3)
    assert large_G.tolist() == pytest.approx([0, 0, 0, 1, 0, 0], abs=1e-9)
    assert torch.equal(worst_chi_square(share_G, risk_G, 0.0), share_G)
    alike_G = torch.ones_like(risk_G)
    assert worst_chi_square(share_G, alike_G, 1.0).tolist() == pytest.approx(SHARES, rel=1e-12)


def test_radius_0_is_erm() -> None:
    objective = ChiSquare(COUNTS_G, ChiSquare.Config(radius=0.0))
    for seed in range(3):
        loss_B, group_B = batch(seed)
        loss, weight_G = objective(loss_B, group_B)
        assert float(loss) == pytest.approx(float(loss_B.mean()), rel=1e-12)
        assert weight_G.tolist() == pytest.approx(SHARES)


def test_groups_follow_the_running_loss_and_unseen_ones_keep_their_share() -> None:
    objective = ChiSquare(COUNTS_G, ChiSquare.Config(radius=0.2, rate=0.25))
    running: dict[int, float] = {}
    for seed in range(4):
        loss_B, group_B = batch(seed, groups=[0, 1, 2, 4])
        objective(loss_B, group_B)
        means = group_means(loss_B.tolist(), group_B.tolist())
        for g, mean in means.items():
            now = mean - float(loss_B.mean())
            running[g] = now if seed == 0 else 0.75 * running[g] + 0.25 * now
    weights = objective.weight_G.tolist()
    assert [weights[3], weights[5]] == [SHARES[3], SHARES[5]]
    seen = sorted(running)
    total = sum(SHARES[g] for g in seen)
    shares, risks = [SHARES[g] / total for g in seen], [running[g] for g in seen]
    value = sum(weights[g] / total * running[g] for g in seen)
    assert value == pytest.approx(worst_value(shares, risks, 0.2), rel=1e-5)
    assert divergence([weights[g] / total for g in seen], shares) == pytest.approx(0.2, rel=1e-6)


def test_over_patients_the_loss_is_the_worst_mean_of_the_batch() -> None:
    objective = ChiSquare(COUNTS_G, ChiSquare.Config(over="patients", radius=0.5))
    loss_B, group_B = batch()
    loss_B.requires_grad_()
    loss, weight_G = objective(loss_B, group_B)
    (weight_B,) = torch.autograd.grad(loss, loss_B)
    uniform = [1 / len(loss_B)] * len(loss_B)
    expected = worst_value(uniform, loss_B.tolist(), 0.5)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert divergence(weight_B.tolist(), uniform) == pytest.approx(0.5, rel=1e-6)
    for group in range(len(COUNTS)):
        assert float(weight_G[group]) == pytest.approx(float(weight_B[group_B == group].sum()))
    before_G = objective.weight_G.clone()
    objective.eval()(loss_B.detach().flip(0), group_B)
    assert torch.equal(objective.weight_G, before_G)


def test_held_out_patients_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        ChiSquare.Config(over="patients", held_out=True)
    assert str(caught.value) == (
        "held_out weighs groups by their validation loss, but over=patients weighs training "
        "patients: set over=groups, or held_out=false"
    )
