"""FairBatch: shares move towards the groups that lose more, once per epoch."""

# B patients of a batch, N training patients, G groups

import pytest
import torch

from remind.objectives import FairBatch
from tests.objectives.reference import COUNTS, batch, group_means

COUNTS_G = torch.tensor(COUNTS)
SHARES = [count / sum(COUNTS) for count in COUNTS]


@pytest.mark.parametrize("worse", [0, 1])
def test_two_groups_move_by_the_step_times_the_sign_of_the_difference(worse: int) -> None:
    """Whatever the size of the difference; only at the end of the epoch."""
    objective = FairBatch(torch.tensor([70, 30]), FairBatch.Config(step=0.02))
    for epoch in range(1, 4):
        for _ in range(5):
            loss_B = torch.tensor([0.5, 0.5]) + (torch.arange(2) == worse) / 10**epoch
            loss, _ = objective(loss_B, torch.tensor([0, 1]))
            assert float(loss) == pytest.approx(float(loss_B.mean()))
        assert float(objective.weight_G[0]) == pytest.approx(
            0.7 + (epoch - 1) * (0.02, -0.02)[worse]
        )
        objective.end_epoch()
        assert float(objective.weight_G[0]) == pytest.approx(0.7 + epoch * (0.02, -0.02)[worse])


def test_many_groups_gain_and_give_by_their_shares() -> None:
    """Losses are means over the epoch's patients of a group; a group not drawn keeps its share."""
    objective = FairBatch(COUNTS_G, FairBatch.Config(step=0.1))
    batches = [batch(seed, groups=[0, 1, 3, 5]) for seed in range(3)]
    for loss_B, group_B in batches:
        objective(loss_B, group_B)
    objective.end_epoch()
    losses = torch.cat([loss_B for loss_B, _ in batches]).tolist()
    groups = torch.cat([group_B for _, group_B in batches]).tolist()
    means = group_means(losses, groups)
    mean = sum(COUNTS[g] * means[g] for g in means) / sum(COUNTS[g] for g in means)
    worse = [g for g in means if means[g] > mean]
    better = [g for g in means if means[g] < mean]
    assert worse
    assert better
    for g in range(len(COUNTS)):
        expected = SHARES[g]
        for side, sign in ((worse, 1), (better, -1)):
            if g in side:
                expected += sign * 0.1 * SHARES[g] / sum(SHARES[h] for h in side)
        assert float(objective.weight_G[g]) == pytest.approx(expected, rel=1e-9), g


def test_groups_give_no_more_than_half_and_can_come_back() -> None:
    objective = FairBatch(torch.tensor([99, 1]), FairBatch.Config(step=0.5))
    for _ in range(30):
        objective(torch.tensor([1.0, 0.5]), torch.tensor([0, 1]))
        objective.end_epoch()
    assert 0 < float(objective.weight_G[1]) < 1e-10
    objective(torch.tensor([0.5, 1.0]), torch.tensor([0, 1]))
    objective.end_epoch()
    assert float(objective.weight_G[1]) > 0.49


def test_equal_losses_move_nothing_and_an_epoch_forgets_the_one_before() -> None:
    objective = FairBatch(COUNTS_G, FairBatch.Config(step=0.1))
    objective(*batch(0))
    objective.end_epoch()
    before_G = objective.weight_G.clone()
    objective(torch.ones(6), torch.arange(6))
    objective.end_epoch()
    assert objective.weight_G.tolist() == pytest.approx(before_G.tolist(), rel=1e-14)


def test_patients_are_drawn_so_that_groups_have_their_shares() -> None:
    objective = FairBatch(COUNTS_G, FairBatch.Config(step=0.1))
    objective(*batch(0))
    objective.end_epoch()
    group_N = torch.repeat_interleave(torch.arange(len(COUNTS)), COUNTS_G)
    weight_N = objective.draws(group_N)
    assert weight_N is not None
    share_G = torch.zeros(len(COUNTS), dtype=torch.float64).index_add(0, group_N, weight_N)
    assert share_G.tolist() == pytest.approx(objective.weight_G.tolist(), rel=1e-12)
    assert share_G.tolist() != pytest.approx(SHARES, rel=1e-2)
