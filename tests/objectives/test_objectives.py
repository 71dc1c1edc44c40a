"""What every objective promises: one interface, a true gradient, and state that can be saved."""

# B patients of a batch, G groups

import math
from typing import get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remind.cli import fit
from remind.errors import InputError
from remind.objectives import (
    ERM,
    OBJECTIVES,
    AdaptiveObjective,
    GroupDRO,
    Objective,
    group_mean,
    make_objective,
)
from tests.objectives.reference import COUNTS, PATTERNS, batch, group_means

NAMES = sorted(OBJECTIVES)
ADAPTIVE = [name for name in NAMES if issubclass(OBJECTIVES[name], AdaptiveObjective)]
QUICK = {"paper": {"every": 2, "gamma": 0.5}}


def build(name: str, **options: object) -> Objective:
    return make_objective(
        name,
        counts_G=torch.tensor(COUNTS),
        patterns_GM=torch.tensor(PATTERNS, dtype=torch.bool),
        **{**QUICK.get(name, {}), **options},
    )


@pytest.mark.parametrize("name", NAMES)
@given(seeds=st.lists(st.integers(0, 10**6), min_size=1, max_size=8), scale=st.floats(0, 1e6))
@settings(max_examples=20, deadline=None)
def test_weights_stay_in_the_simplex(name: str, seeds: list[int], scale: float) -> None:
    objective = build(name)
    for seed in seeds:
        loss_B, group_B = batch(seed, 5, groups=[seed % 6, (seed // 6) % 6])
        loss, weight_G = objective(loss_B * scale, group_B)
        assert math.isfinite(loss)
        assert (weight_G >= 0).all()
        assert float(weight_G.sum()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_the_weighted_gradient_of_the_patients(name: str) -> None:
    """d loss / d loss_i is the patient's weight, a constant, and the loss is their weighted sum."""
    objective = build(name)
    for seed in range(3):
        objective(*batch(seed))
    loss_B, group_B = batch(3)
    loss_B.requires_grad_()
    loss, _ = objective(loss_B, group_B)
    (share_B,) = torch.autograd.grad(loss, loss_B)
    for group in range(len(COUNTS)):
        assert len(share_B[group_B == group].unique()) == 1
    assert loss.item() == pytest.approx((share_B * loss_B).sum().item(), rel=1e-12)


@pytest.mark.parametrize("name", ["paper", "group_dro"])
def test_balanced_batches_have_all_groups_equally_often(name: str) -> None:
    """The draws of an epoch weigh a patient 1 / n_g; by default everyone is drawn once."""
    group_N = torch.repeat_interleave(torch.arange(len(COUNTS)), torch.tensor(COUNTS))
    assert build(name).draws(group_N) is None
    weight_N = build(name, balanced=True).draws(group_N)
    assert weight_N is not None
    drawn_G = torch.zeros(len(COUNTS), dtype=torch.float64).index_add(0, group_N, weight_N)
    assert drawn_G.tolist() == pytest.approx([1.0] * len(COUNTS))


@pytest.mark.parametrize("name", ["paper", "group_dro"])
def test_batch_form_is_the_weighted_mean_of_group_means(name: str) -> None:
    objective = build(name)
    loss_B, group_B = batch(1, groups=[0, 2, 5])
    loss, weight_G = objective(loss_B, group_B)
    means = group_means(loss_B.tolist(), group_B.tolist())
    assert float(loss) == pytest.approx(sum(float(weight_G[g]) * mean for g, mean in means.items()))


@pytest.mark.parametrize("name", ["erm", "reweight", "cvar", "long_tail_dro", "chi2"])
def test_sampler_form_is_unbiased(name: str) -> None:
    """Over the whole training set the patients' weights make sum_g q_g L_g."""
    objective = build(name)
    objective(*batch(0))
    objective.eval()
    group_B = torch.repeat_interleave(torch.arange(len(COUNTS)), torch.tensor(COUNTS))
    loss_B = torch.rand(len(group_B), dtype=torch.float64)
    loss, weight_G = objective(loss_B, group_B)
    means = group_means(loss_B.tolist(), group_B.tolist())
    expected = sum(float(weight_G[g]) * mean for g, mean in means.items())
    assert float(loss) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_state_takes_the_identical_next_steps(name: str) -> None:
    objective, other = build(name), build(name)
    for seed in range(5):
        objective(*batch(seed, groups=[0, 1, 3]))
    state = {key: value.clone() for key, value in objective.state_dict().items()}
    other.load_state_dict(state)
    for seed in range(5, 9):
        loss_B, group_B = batch(seed)
        for ours, theirs in zip(objective(loss_B, group_B), other(loss_B, group_B), strict=True):
            assert torch.equal(ours, theirs)
    if isinstance(objective, AdaptiveObjective) and isinstance(other, AdaptiveObjective):
        assert objective.trajectory.num_updates == 9
        assert objective.trajectory.to_dict() == other.trajectory.to_dict()


@pytest.mark.parametrize("name", ADAPTIVE)
def test_evaluation_changes_no_state(name: str) -> None:
    objective = build(name)
    objective(*batch(0))
    before = {key: value.clone() for key, value in objective.state_dict().items()}
    objective.eval()(*batch(1))
    after = objective.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_a_loss_that_overflows_does_not_poison_the_weights(name: str) -> None:
    objective = build(name)
    loss_B, group_B = batch(0)
    loss_B[group_B == 1] = torch.inf
    for _ in range(4):
        objective(loss_B, group_B)
    objective.end_epoch()
    assert objective.weight_G.isfinite().all()
    assert not torch.equal(objective.weight_G, build(name).weight_G)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_held_out_weights_follow_observe_alone(name: str) -> None:
    objective = build(name, held_out=True)
    assert isinstance(objective, AdaptiveObjective)
    assert objective.held_out
    start_G = objective.weight_G.clone()
    loss_B, group_B = batch(0)
    for _ in range(4):
        assert torch.equal(objective(loss_B, group_B).weight_G, start_G)
    loss_G = torch.tensor([0.1, 0.1, 0.1, 0.1, 0.1, 2.0])
    objective.observe(loss_G, torch.tensor([90, 40, 20, 9, 8, 7]))
    assert objective.weight_G[5] > 1.01 * start_G[5]
    assert torch.equal(objective(loss_B, group_B).weight_G, objective.weight_G)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_observe_is_refused_where_training_losses_rule(name: str) -> None:
    objective = build(name)
    assert isinstance(objective, AdaptiveObjective)
    with pytest.raises(ValueError, match="observe needs held_out=True"):
        objective.observe(torch.ones(6), torch.ones(6))


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_losses_give_a_full_precision_scalar(name: str) -> None:
    loss_B, group_B = batch(0)
    loss, _ = build(name)(loss_B.to(torch.bfloat16), group_B)
    assert loss.dtype == torch.float32


def test_a_million_groups_cost_one_pass() -> None:
    objective = GroupDRO(torch.ones(1_000_000, dtype=torch.int64))
    loss, weight_G = objective(torch.tensor([1.0, 3.0]), torch.tensor([0, 999_999]))
    assert float(loss) == pytest.approx(float(weight_G[0] + 3 * weight_G[-1]))


def test_group_mean_leaves_out_unseen_groups() -> None:
    loss_G, count_G = group_mean(
        torch.tensor([1.0, 2.0, 9.0, 4.0]), torch.tensor([0, 0, -1, 2]), num_groups=3
    )
    assert loss_G.tolist() == [1.5, 0, 4]
    assert count_G.tolist() == [2, 0, 1]


def test_counts_may_be_arrays_and_are_not_shared() -> None:
    counts = np.array([3.0, 1.0])
    objective = ERM(counts)  # pyright: ignore[reportArgumentType]
    counts[0] = 100
    assert objective.weight_G.tolist() == [0.75, 0.25]


@pytest.mark.parametrize(
    ("group_B", "says"),
    [
        (torch.tensor([0, -1]), "group_B holds -1, the mark of a combination that training"),
        (torch.tensor([0, 6]), r"group_B holds 6, but there are 6 groups \(0..5\)"),
        (torch.tensor([0]), r"one loss and one group per patient .* got shapes \(2,\) and \(1,\)"),
    ],
)
def test_a_wrong_batch_is_refused(group_B: Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build("erm")(torch.ones(2), group_B)


@pytest.mark.parametrize(
    ("counts", "says"),
    [([3, 0], "got 0 for group 1: leave out groups without"), ([], "at least one group")],
)
def test_wrong_counts_are_refused(counts: list[int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ERM(torch.tensor(counts))


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("group_rdo", {}, 'no objective "group_rdo"; did you mean "group_dro"'),
        ("zzz", {}, r'no objective "zzz" \(there are erm, reweight, paper, group_dro, cvar'),
        ("cvar", {"alhpa": 1}, 'objective cvar has no option "alhpa"; did you mean "alpha"'),
        ("erm", {"step": 1}, r'objective erm has no option "step" \(options: none\)'),
        ("cvar", {"alpha": 0}, "alpha must be a number > 0 and <= 1, got 0"),
        ("cvar", {"rate": math.nan}, "rate must be a number > 0 and <= 1, got nan"),
        ("group_dro", {"step": "big"}, "step must be a number >= 0, got 'big'"),
        ("group_dro", {"held_out": 1}, "held_out must be true or false, got 1"),
        ("paper", {"every": 2.5}, "every must be a whole number >= 1, got 2.5"),
        (
            "paper",
            {"start": "unifrom"},
            'start must be "uniform" or "proportions", got .*"uniform"',
        ),
        ("long_tail_dro", {"mix": 2}, "mix must be a number >= 0 and <= 1, got 2"),
        ("reweight", {"power": True}, "power must be a number >= 0, got True"),
    ],
)
def test_a_wrong_name_or_option_is_one_sentence(
    name: str, options: dict[str, object], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        build(name, **options)


def test_the_command_line_names_every_objective() -> None:
    """By hand, since importing them would import torch before any command begins."""
    option = get_type_hints(fit, include_extras=True)["objective"].__metadata__[0]
    assert option.help.split(", ") == list(OBJECTIVES)
