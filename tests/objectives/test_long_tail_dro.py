"""Long-tail group DRO: shrunken losses, a ball around the empirical distribution, no bias."""

# B patients of a batch, G groups, M modalities, K neighbors

from typing import Any

import pytest
import torch
from torch import Tensor

from remind.objectives import LongTailDRO
from remind.objectives.neighbors import nearest_groups
from tests.objectives import reference
from tests.objectives.reference import COUNTS, PATTERNS, batch, group_means

COUNTS_G = torch.tensor(COUNTS)
PATTERNS_GM = torch.tensor(PATTERNS, dtype=torch.bool)
SHARE_G = COUNTS_G / COUNTS_G.sum(dtype=torch.float64)


def build(
    share_G: Tensor | None = None, baseline_G: Tensor | None = None, **options: Any
) -> LongTailDRO:
    return LongTailDRO(
        COUNTS_G,
        LongTailDRO.Config(**options),
        patterns_GM=PATTERNS_GM,
        share_G=share_G,
        baseline_G=baseline_G,
    )


def relative_means(loss_B: Tensor, group_B: Tensor) -> list[float]:
    """Group means minus the mean over the batch's patients."""
    means = group_means(loss_B.tolist(), group_B.tolist())
    return [means[g] - float(loss_B.mean()) for g in range(len(COUNTS))]


@pytest.mark.parametrize("options", [{"radius": 0.0}, {"mix": 1.0}])
def test_an_empty_ball_and_a_full_mix_are_erm(options: dict[str, Any]) -> None:
    objective = build(**options)
    for seed in range(3):
        loss_B, group_B = batch(seed)
        loss, weight_G = objective(loss_B, group_B)
        assert float(loss) == pytest.approx(float(loss_B.mean()), rel=1e-12)
        assert weight_G.tolist() == pytest.approx(SHARE_G.tolist(), rel=1e-12)


@pytest.mark.parametrize("temperature", [0.01, 0.3])
def test_weights_equal_the_oracle(temperature: float) -> None:
    """With the low temperature the radius decides, with the high one the temperature."""
    objective = build(radius=0.1, temperature=temperature, tau=7.0, bandwidth=0.3, mix=0.25)
    loss_B, group_B = batch()
    weight_G = objective(loss_B, group_B).weight_G
    risk = reference.shrunken(relative_means(loss_B, group_B), COUNTS, PATTERNS, 7.0, 0.3)
    worst = reference.tilted(SHARE_G.tolist(), risk, 0.1, temperature)
    expected = [0.25 * p + 0.75 * q for p, q in zip(SHARE_G.tolist(), worst, strict=True)]
    assert objective.risk().tolist() == pytest.approx(risk, rel=1e-6)
    assert weight_G.tolist() == pytest.approx(expected, rel=1e-5)
    assert (reference.kl(worst, SHARE_G.tolist()) > 0.0999) == (temperature == 0.01)


def test_tau_0_trusts_each_group_and_infinite_tau_only_its_neighbors() -> None:
    loss_B, group_B = batch()
    own, near = build(tau=0.0), build(tau=float("inf"), neighbors=1)
    for objective in (own, near):
        objective(loss_B, group_B)
    means = relative_means(loss_B, group_B)
    assert own.risk().tolist() == pytest.approx(means, abs=1e-12)
    neighbor_G = near.neighbor_GK[:, 0]
    expected_G = torch.tensor(means, dtype=torch.float64)[neighbor_G]
    assert near.risk().tolist() == pytest.approx(expected_G.tolist(), abs=1e-6)


def test_a_group_never_seen_takes_its_neighbors_risk() -> None:
    objective = build(neighbors=1, tau=1.0)
    loss_B, group_B = batch(groups=[0, 1, 2, 3, 4])
    objective(loss_B, group_B)
    neighbor = int(objective.neighbor_GK[5, 0])
    assert neighbor == 4
    assert float(objective.risk()[5]) == pytest.approx(float(objective.running_G[4]))


def test_a_bad_loss_of_one_patient_moves_little_and_of_its_neighborhood_much() -> None:
    def weight_of_last_group(loss_G: list[float]) -> float:
        loss_B = torch.tensor(loss_G, dtype=torch.float64)
        return float(build(tau=20.0)(loss_B, torch.arange(6)).weight_G[5] / SHARE_G[5])

    alone = weight_of_last_group([0.3, 0.3, 0.3, 0.3, 0.3, 0.9])
    together = weight_of_last_group([0.3, 0.3, 0.3, 0.9, 0.9, 0.9])
    assert 1 < alone < 1.5
    assert together > 3


def test_the_loss_is_unbiased_under_another_sampler() -> None:
    """Patients drawn alike from every group, as one batch in the sampler's shares."""
    uniform_G = torch.full((6,), 1 / 6, dtype=torch.float64)
    objective = build(share_G=uniform_G, radius=0.3)
    loss_B, group_B = batch(num_patients=60)
    objective(loss_B, group_B)
    group_B = torch.arange(6).repeat(10)
    loss, weight_G = objective.eval()(loss_B, group_B)
    means = group_means(loss_B.tolist(), group_B.tolist())
    expected = sum(float(weight_G[g]) * mean for g, mean in means.items())
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_the_baseline_moves_the_weights_and_not_the_loss() -> None:
    """A group as bad as can be attained is not upweighted: the excess counts."""
    loss_B = torch.tensor([0.1, 0.1, 0.9, 0.1, 0.1, 0.1], dtype=torch.float64)
    baseline_G = torch.tensor([0.0, 0.0, 0.9, 0.0, 0.0, 0.0])
    plain, regret = build(), build(baseline_G=baseline_G)
    weight_plain_G = plain(loss_B, torch.arange(6)).weight_G
    loss, weight_G = regret(loss_B, torch.arange(6))
    assert weight_plain_G[2] > 1.5 * SHARE_G[2]
    assert weight_G[2] < SHARE_G[2]
    ratio_G = weight_G / SHARE_G
    assert float(loss) == pytest.approx(float((ratio_G * loss_B).mean()), rel=1e-12)


def test_held_out_risk_counts_held_out_patients() -> None:
    """One held-out patient is weaker evidence than the group's training patients would be."""
    loss_G = torch.tensor([2.0, 0.1, 0.1, 0.1, 0.1, 0.1])
    risk = {}
    for count in (1, 400):
        objective = build(held_out=True, tau=20.0)
        objective.observe(loss_G, torch.tensor([count, 150, 60, 12, 5, 1]))
        risk_G = objective.risk()
        risk[count] = float(risk_G[0] - risk_G[1])
    assert risk[1] < 0.3
    assert risk[400] > 1.5


def test_neighbors_equal_brute_force_in_any_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    patterns = [[bool(code >> m & 1) for m in range(5)] for code in range(1, 32)]
    monkeypatch.setattr("remind.objectives.neighbors._CHUNK_CELLS", 100)
    near = nearest_groups(torch.tensor(patterns), torch.ones(31), num_neighbors=4, bandwidth=0.5)
    assert near.index_GK.shape == (31, 4)
    for g, pattern in enumerate(patterns):
        similar = [reference.jaccard(pattern, other) for other in patterns]
        best = sorted(similar[:g] + similar[g + 1 :], reverse=True)[:4]
        found = [similar[h] for h in near.index_GK[g].tolist()]
        assert g not in near.index_GK[g]
        assert found == pytest.approx(best)
        expected = torch.exp(-(1 - torch.tensor(best, dtype=torch.float64)) / 0.5)
        assert near.kernel_GK[g].tolist() == pytest.approx(expected.tolist(), rel=1e-6)


def test_neighbors_of_many_groups_are_looked_for_among_the_most_frequent() -> None:
    counts_G = torch.tensor([1, 9, 1, 8, 7, 1])
    near = nearest_groups(PATTERNS_GM, counts_G, 16, 0.2, num_candidates=3)
    assert near.index_GK.shape == (6, 2)
    assert set(near.index_GK.flatten().tolist()) == {1, 3, 4}


def test_a_single_group_is_erm() -> None:
    objective = LongTailDRO(torch.tensor([7]), patterns_GM=torch.ones(1, 3, dtype=torch.bool))
    loss, weight_G = objective(torch.tensor([1.0, 2.0]), torch.tensor([0, 0]))
    assert float(loss) == pytest.approx(1.5)
    assert weight_G.tolist() == [1.0]


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"patterns_GM": None}, "pass patterns_GM, one row per group"),
        ({"patterns_GM": PATTERNS_GM[:4]}, r"one row for each of 6 groups, got shape \(4, 4\)"),
        ({"share_G": torch.ones(6)}, "must be > 0 and sum to 1, got a minimum of 1 and a sum of 6"),
        ({"baseline_G": torch.ones(2)}, r"baseline_G must hold one value .* got shape \(2,\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        LongTailDRO(COUNTS_G, **{"patterns_GM": PATTERNS_GM, **arrays})
