"""Weights of the groups of a run, and the whole diagnosis of a tiny one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from remind.analyses import PARTS, Options, diagnose, diagnosis_lines
from remind.analyses.weights import group_weights
from remind.cohort import Cohort
from remind.errors import InputError
from remind.methods import METHODS
from remind.run_files import CHECKPOINTS
from remind.sources import load_source
from remind.training import Run, fit_run, open_run, with_overrides

OPTIONS = Options(num_boot=50)
MINE = ("gradients", "concept_shift", "routing", "group_weights")


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return load_source(
        "synthetic", num_patients=600, num_modalities=3, num_combinations=5, tail=0.8, seed=1
    )


def fit(cohort: Cohort, folder: Path, *settings: str, method: str = "default") -> Run:
    chosen = METHODS[method]
    small = ["epochs=2", "device=cpu", "width=16", *settings]
    overrides = with_overrides(chosen.default_settings(), small)
    fit_run(cohort, chosen, overrides, folder)
    return open_run(folder, METHODS)


@pytest.fixture(scope="module")
def run(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run") / "dro"
    return fit(cohort, folder, "objective=group_dro", "step=0.5", "members=3")


def test_weights_are_those_of_the_last_update(run: Run, cohort: Cohort) -> None:
    result = group_weights(run, cohort, OPTIONS)
    assert result["moves"]
    assert result["verdict"] in ("healthy", "frozen", "one-hot", "abandoned tail")
    assert [epoch["epoch"] for epoch in result["epochs"]] == [1, 2]
    last, updates = result["epochs"][-1], result["updates"]
    assert updates["update"][-1] == 2 * len(range(0, len(cohort.rows("train")), 256))
    assert updates["moved"][-1] == pytest.approx(last["moved"], abs=1e-12)
    assert updates["moved"][0] == 0
    groups = result["groups"]
    weight_G = np.array([group["weight"] for group in groups])
    share_G = np.array([group["share"] for group in groups])
    assert len(groups) == result["num_groups"] == 5
    assert weight_G.sum() == pytest.approx(1)
    assert np.abs(weight_G - share_G).sum() / 2 > 0.01
    assert last["max_weight"] == pytest.approx(weight_G.max(), abs=1e-12)
    assert last["max_group"] == groups[int(weight_G.argmax())]["group"]
    ratios = [group["ratio"] for group in groups]
    assert ratios == sorted(ratios, reverse=True)


def test_fixed_weights_and_lost_records_are_said(cohort: Cohort, tmp_path: Path) -> None:
    erm = fit(cohort, tmp_path / "erm", "objective=erm", "epochs=1", "members=2")
    result = group_weights(erm, cohort, OPTIONS)
    assert (result["verdict"], result["moves"]) == ("fixed", False)
    assert [group["ratio"] for group in result["groups"]] == [pytest.approx(1)] * 5
    lost = fit(cohort, tmp_path / "lost", "objective=group_dro", "epochs=1", "members=2")
    assert lost.folder is not None
    (lost.folder.path / CHECKPOINTS).rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="keeps no checkpoint of its objective"):
        group_weights(lost, cohort, OPTIONS)


def test_diagnosis_of_a_tiny_run(run: Run, cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remind.analyses.gradients_of_run.SAMPLE", 25)
    monkeypatch.setattr("remind.analyses.concept_shift_of_run.PERMUTATIONS", 19)
    result = json.loads(json.dumps(diagnose(run, cohort, options=OPTIONS), allow_nan=False))
    assert set(PARTS) <= set(result)
    assert (result["cohort"], result["split"], result["n"]) == ("synthetic", "test", 120)
    assert not set(MINE) & set(result["absent"])
    assert set(result["seconds"]) == set(PARTS)
    gradients = result["gradients"]
    assert gradients["n"] == len(cohort.rows("train"))
    for when in ("trained", "initial"):
        groups = gradients[when]["groups"]
        assert sum(group["n_train"] for group in groups) == gradients["n"]
        assert len(gradients[when]["matrix"]["cosine"]) == len(groups) == 5
    shift = result["concept_shift"]
    assert shift["groups"][0]["group"] == gradients["trained"]["groups"][0]["group"]
    assert shift["overall"]["pairs"] == len(shift["pairs"])
    (mixture,) = result["routing"]["mixtures"]
    assert sum(group["n"] for group in mixture["groups"]) == 120
    assert mixture["information"]["ci"][0] < mixture["information"]["nats"]
    lines = diagnosis_lines(result)
    assert len(lines) <= 25
    for words in ("gradients: ", "concept shift: another group's function costs", "I(group;"):
        assert any(words in line for line in lines)
    assert result["group_weights"]["health"] in "\n".join(lines)


def test_rows_of_a_person_count_once_where_rows_are_compared_with_chance(
    run: Run, cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everyone twice is everyone once: no figure moves, least of all a p-value."""
    monkeypatch.setattr("remind.analyses.gradients_of_run.SAMPLE", 25)
    monkeypatch.setattr("remind.analyses.concept_shift_of_run.PERMUTATIONS", 19)
    twice = cohort.select(np.repeat(np.arange(len(cohort)), 2))
    for part in ("gradients", "routing"):
        assert PARTS[part](run, twice, OPTIONS) == PARTS[part](run, cohort, OPTIONS)
    counts = []
    for some in (twice, cohort):
        shift = PARTS["concept_shift"](run, some, OPTIONS)
        counts.append((shift["n"], [(group["group"], group["n"]) for group in shift["groups"]]))
    assert counts[0] == counts[1]
    person = np.where(cohort.label_N == 1, "one", cohort.person)
    one = replace(cohort, person=person)  # whoever dies is one person
    with pytest.raises(InputError, match="fewer than two combinations have 40 patients, 8 of them"):
        PARTS["concept_shift"](run, one, OPTIONS)


def test_what_does_not_apply_is_null_with_a_sentence(cohort: Cohort, tmp_path: Path) -> None:
    trees = METHODS["lightgbm"]
    fit_run(cohort, trees, trees.default_settings(), tmp_path / "trees")
    asked: list[str] = []
    result = diagnose(
        open_run(tmp_path / "trees", METHODS),
        cohort,
        parts=MINE,
        options=OPTIONS,
        on_part=asked.append,
    )
    assert asked == list(MINE)
    assert all(result[part] is None for part in PARTS)
    assert set(result["absent"]) == set(MINE)
    assert result["absent"]["gradients"].startswith("the method lightgbm has no gradients")
    assert sum("not done" in line for line in diagnosis_lines(result)) == len(MINE)
    plain = fit(cohort, tmp_path / "plain", "epochs=1", method="transformer")
    result = diagnose(plain, cohort, parts=["routing"], options=OPTIONS)
    assert "has no experts to route" in result["absent"]["routing"]


def test_unknown_parts_and_splits_are_refused(run: Run, cohort: Cohort) -> None:
    with pytest.raises(InputError, match=r'no part "gradient".*did you mean "gradients"'):
        diagnose(run, cohort, parts=["gradient"])
    with pytest.raises(InputError, match='no patient is in the split "tset"'):
        diagnose(run, cohort, options=Options(split="tset"))
