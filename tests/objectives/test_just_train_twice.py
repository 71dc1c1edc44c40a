"""Just train twice: whom the first model gets wrong is drawn more for the second."""

# N training patients

import pytest
import torch

from remind.objectives import JustTrainTwice, make_objective

COUNTS_G = torch.tensor([4, 2])
GROUP_N = torch.tensor([0, 0, 0, 0, 1, 1])


def test_the_error_set_is_drawn_lambda_times_as_often() -> None:
    objective = make_objective("jtt", counts_G=COUNTS_G, first_epochs=4, upweight=5.0)
    assert objective.restart_after == 4
    assert objective.draws(GROUP_N) is None
    objective.mark(torch.tensor([True, False, False, True, False, True]))
    weight_N = objective.draws(GROUP_N)
    assert weight_N is not None
    assert weight_N.tolist() == [5, 1, 1, 5, 1, 5]


def test_a_first_model_without_errors_draws_everyone_alike() -> None:
    objective = JustTrainTwice(COUNTS_G)
    objective.mark(torch.zeros(6, dtype=torch.bool))
    assert objective.draws(GROUP_N) is None


def test_the_error_set_survives_in_the_state() -> None:
    objective, other = JustTrainTwice(COUNTS_G), JustTrainTwice(COUNTS_G)
    objective.mark(torch.tensor([True, False, False, False, False, False]))
    other.load_state_dict(objective.state_dict())
    assert torch.equal(other.draws(GROUP_N), objective.draws(GROUP_N))  # pyright: ignore


def test_the_loss_is_the_mean_of_who_was_drawn() -> None:
    objective = JustTrainTwice(COUNTS_G)
    objective.mark(torch.ones(6, dtype=torch.bool))
    loss_B = torch.tensor([0.5, 1.5, 4.0])
    assert float(objective(loss_B, torch.tensor([0, 1, 1])).loss) == pytest.approx(2.0)
