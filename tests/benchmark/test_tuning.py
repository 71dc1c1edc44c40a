"""A search proposes the same whether it was interrupted or not, and finds what is good."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from remind.benchmark.tuning import Trial, best, holds, propose, tuned
from remind.errors import InputError
from remind.methods import METHODS
from remind.training.search import Choice, Range, Space

SETTINGS = METHODS["transformer"].default_settings()
SPACE: Space = {
    "lr": Range(low=1e-4, high=1e-1, log=True),
    "blocks": Range(low=1, high=4, whole=True),
    "width": Choice((32, 64)),
    "dropout": Range(low=0.6, high=0.9),
}


def search(num: int, seed: int = 0) -> list[Trial]:
    """Trials whose value is best at lr 1e-2, two blocks and width 64; every fifth is refused."""
    trials: list[Trial] = []
    for number in range(num):
        params = propose(SPACE, SETTINGS, trials, seed)
        loss = abs(np.log10(params["lr"]) + 2) + abs(params["blocks"] - 2) + (params["width"] == 32)
        value = None if number % 5 == 4 else float(loss)
        trials.append(Trial(params=params, value=value, seconds=1.0))
    return trials


def test_the_first_trial_has_the_defaults_even_outside_the_space() -> None:
    flat = SETTINGS.to_dict()
    assert not holds(SPACE["dropout"], flat["dropout"])
    assert propose(SPACE, SETTINGS, [], 0) == {key: flat[key] for key in SPACE}
    assert tuned(SETTINGS, propose(SPACE, SETTINGS, [], 0)) == SETTINGS


def test_a_search_read_back_from_files_proposes_what_it_would_have() -> None:
    trials = search(20)
    assert len({json.dumps(trial.params) for trial in trials}) == 20
    for number in (1, 4, 13, 19):
        kept = [Trial(**json.loads(json.dumps(asdict(trial)))) for trial in trials[:number]]
        assert propose(SPACE, SETTINGS, kept, 0) == trials[number].params
    assert search(3, seed=1)[2].params != trials[2].params


def test_a_dimension_that_another_version_had_does_not_stop_a_search() -> None:
    trials = [replace(trial, params={**trial.params, "gone": 1.0}) for trial in search(2)]
    assert propose(SPACE, SETTINGS, trials, 0) == search(3)[2].params


def test_proposals_are_settings_inside_the_space() -> None:
    for trial in search(20)[1:]:
        assert all(holds(SPACE[key], value) for key, value in trial.params.items())
        flat = tuned(SETTINGS, trial.params).to_dict()
        assert {key: flat[key] for key in SPACE} == trial.params
        assert type(flat["blocks"]) is int


def test_the_estimator_learns_from_trials() -> None:
    """After ten random ones the proposals are closer to the optimum than those were."""
    values = [trial.value for trial in search(40)]
    before, after = ([v for v in part if v is not None] for part in (values[1:10], values[25:]))
    assert np.mean(after) < 0.6 * np.mean(before)


def test_the_best_trial_is_the_first_of_the_smallest() -> None:
    trials = [Trial(params={"n": n}, value=v, seconds=0) for n, v in enumerate((3, None, 1, 1))]
    assert best(trials) is trials[2]
    assert best([trials[1]]) is None
    with pytest.raises(InputError, match="lr"):
        tuned(SETTINGS, {"lr": -1.0})
