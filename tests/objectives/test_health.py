"""The trajectory stays small and true, and its health is said in words."""

# B patients of a batch, G groups

import json

import pytest
import torch

from remind.objectives import GroupDRO, LongTailDRO, PaperUpdate, Trajectory, diagnose
from tests.objectives.reference import COUNTS, PATTERNS, batch

COUNTS_G = torch.tensor(COUNTS)


def trained_paper(**options: object) -> PaperUpdate:
    """600 batches; the rarer the group, the higher its loss."""
    objective = PaperUpdate(COUNTS_G, PaperUpdate.Config(**options))  # pyright: ignore
    for seed in range(600):
        loss_B, group_B = batch(seed)
        objective(loss_B / 2 + group_B / 10, group_B)
    return objective


def test_from_proportions_a_small_gamma_is_frozen() -> None:
    words = diagnose(trained_paper(start="proportions").trajectory, COUNTS_G)
    assert words.startswith("frozen: the weights never moved")
    assert "this is ERM under another name; raise the step" in words


def test_uniform_weights_that_never_moved_are_named_so() -> None:
    words = diagnose(trained_paper(gamma=0.0).trajectory, COUNTS_G)
    assert "(at most 0.0% of their mass): this is uniform group weighting under" in words


def test_a_large_gamma_is_one_hot_and_names_the_group() -> None:
    trajectory = trained_paper(gamma=5.0).trajectory
    assert "one-hot: group 5 (1 patient) holds 9" in diagnose(trajectory, COUNTS_G)
    names = ["a", "b", "c", "d", "e", "labs+ecg"]
    assert '"labs+ecg" (1 patient)' in diagnose(trajectory, COUNTS_G, names)


def test_a_memorized_tail_is_abandoned() -> None:
    objective = GroupDRO(COUNTS_G, GroupDRO.Config(step=0.1))
    for seed in range(200):
        loss_B, group_B = batch(seed)
        objective((loss_B + 0.2) * (group_B < 3), group_B)
    words = diagnose(objective.trajectory, COUNTS_G)
    assert words.startswith(
        "abandoned tail: the 3 groups under 20 patients fell from 50.00% to 0.0"
    )
    assert "use a held-out risk" in words


def test_healthy_weights_tell_the_effective_number_of_groups() -> None:
    words = diagnose(trained_paper(gamma=0.1).trajectory, COUNTS_G)
    assert words.startswith("healthy: 6.0 effective groups at the start, 5.")


def test_a_risk_that_was_never_observed_is_frozen() -> None:
    objective = LongTailDRO(
        COUNTS_G, LongTailDRO.Config(held_out=True), patterns_GM=torch.tensor(PATTERNS)
    )
    objective(*batch())
    assert "no risk was ever observed" in diagnose(objective.trajectory, COUNTS_G)


def test_one_group_has_nothing_to_weigh() -> None:
    objective = GroupDRO(COUNTS_G[:1])
    objective(torch.ones(2), torch.zeros(2, dtype=torch.int64))
    assert "one group only" in diagnose(objective.trajectory, COUNTS_G[:1])


@pytest.mark.parametrize("num_updates", [0, 3, 7, 8, 9, 15, 16, 17, 100])
def test_thinning_keeps_evenly_spaced_true_records(num_updates: int) -> None:
    """Weight of the second of two groups after update u is u / 1000."""
    trajectory = Trajectory(torch.tensor([1.0, 0.0]), torch.tensor([30, 2]), capacity=8)
    for update in range(1, num_updates + 1):
        trajectory.record(torch.tensor([1 - update / 1000, update / 1000]))
    columns = trajectory.to_dict()
    stride = trajectory.stride
    assert columns["update"] == list(range(0, num_updates + 1, stride))
    assert len(columns["update"]) <= 8
    assert num_updates < 8 or len(columns["update"]) > 4
    assert columns["tail_mass"] == pytest.approx([u / 1000 for u in columns["update"]], abs=1e-6)
    assert columns["moved"] == pytest.approx([u / 1000 for u in columns["update"]], abs=1e-6)


def test_the_summary_is_one_json_line() -> None:
    trajectory = Trajectory(torch.full((4,), 0.25), torch.tensor([50, 30, 9, 2]))
    trajectory.record(torch.tensor([0.1, 0.6, 0.2, 0.1], dtype=torch.float64))
    summary = json.loads(json.dumps(trajectory.summary()))
    assert (summary["updates"], summary["max_group"]) == (1, 1)
    assert summary["max_weight"] == pytest.approx(0.6)
    assert summary["tail_mass"] == pytest.approx(0.3)
    assert summary["moved"] == pytest.approx(0.35)
    assert summary["entropy"] == pytest.approx(1.0889, abs=1e-4)
    assert [summary["q05"], summary["q95"]] == pytest.approx([0.1, 0.6])
