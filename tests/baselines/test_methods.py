"""What holds for every method: its settings, its search, and a modality that training lacks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from remind.baselines import BASELINES
from remind.benchmark.tuning import propose, search_space, tuned
from remind.cohort import read_cohort
from remind.methods import METHODS
from remind.objectives import OBJECTIVES
from remind.training import with_overrides
from remind.training.search import NEURAL, OF_OBJECTIVE, Choice
from tests.baselines.laws import check_modality_that_training_lacks
from tests.cohort.make import write_cohort

QUICK = {"lightgbm": ["trees=4"], "xgboost": ["trees=4"], "catboost": ["trees=4"]}
QUICK["tabm"] = ["epochs=1", "width=8"]
NETWORKS = [name for name, method in METHODS.items() if method.default_settings().train]


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_method_takes_every_objective_and_both_are_tuned(name: str, objective: str) -> None:
    """The first trial is the defaults, and both ends of every dimension are settings."""
    method = METHODS[name]
    settings = with_overrides(method.default_settings(), [f"objective={objective}"])
    space = search_space(method, settings)
    assert {*NEURAL, *OF_OBJECTIVE[objective]} <= set(space)
    assert tuned(settings, propose(space, settings, [], 0)) == settings
    for key, dimension in space.items():
        is_choice = isinstance(dimension, Choice)
        values = dimension.values if is_choice else (dimension.low, dimension.high)
        for value in values:
            value = int(value) if not is_choice and dimension.whole else value
            assert tuned(settings, {key: value}).to_dict()[key] == value


def test_every_objective_with_a_free_strength_is_tuned() -> None:
    assert set(OF_OBJECTIVE) == set(OBJECTIVES)
    assert [name for name, space in OF_OBJECTIVE.items() if not space] == ["erm"]


def test_those_hide_modalities_whose_published_training_does() -> None:
    hiding = {n for n in NETWORKS if METHODS[n].default_settings().to_dict()["modality_dropout"]}
    assert hiding == {"default", "shaspec", "mmformer"}


@pytest.mark.parametrize("name", ["default", *BASELINES])
def test_a_modality_that_training_lacks(name: str, tmp_path: Path) -> None:
    cohort = read_cohort(write_cohort(tmp_path))
    has_ecg_N = cohort.present_NM[:, cohort.spec.modality_names.index("ecg")]
    dealt_N = np.where(np.arange(len(cohort)) % 2, "val", "test")
    cohort = replace(cohort, split=np.where(has_ecg_N, dealt_N, "train"))
    overrides = QUICK.get(name, ["epochs=1", "width=16", "teacher=0", "device=cpu"])
    check_modality_that_training_lacks(METHODS[name], cohort, *overrides)
