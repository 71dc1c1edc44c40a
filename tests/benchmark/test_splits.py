"""Whom a fold tests and what training may know of them."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from remind.benchmark.splits import (
    block_of_size,
    leave_combinations_out,
    make_plan,
    most_observed,
    shifted,
)
from remind.cohort import Cohort, Encoding, Groups, cohort_from_frame, spec_from_dict
from remind.cohort.flat import flat_table
from remind.errors import InputError
from tests.cohort.make import small_frame


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """400 patients, two rows per person that often differ in what is observed."""
    content = {
        "cohort": {
            "name": "small",
            "table": "p.parquet",
            "id": "pid",
            "label": "died",
            "task": "binary",
            "group_by": "person",
        },
        "modalities": {
            "vitals": {"kind": "tabular", "columns": ["hr", "ward"]},
            "labs": {"kind": "tabular", "columns": ["lactate", "crp", "ventilated"]},
            "ecg": {"kind": "vector", "column": "ecg"},
        },
    }
    return cohort_from_frame(
        small_frame(n=400).drop(columns="split"),
        spec_from_dict(content, root=Path(), source="test"),
    )


def test_combinations_in_test_and_their_persons_are_not_in_training(cohort: Cohort) -> None:
    folds = leave_combinations_out(cohort, 2, seed=0)
    tested_F = [fold.rows("test") for fold in folds]
    assert sorted(np.concatenate(tested_F)) == list(range(len(cohort)))
    for fold, tested in zip(folds, tested_F, strict=True):
        groups = Groups.fit(cohort.present_NM[fold.rows("train")], cohort.spec.modality_names)
        assert (groups.n_train(cohort.present_NM[tested]) == 0).all()
        others = np.concatenate([fold.rows("train"), fold.rows("val")])
        assert not set(cohort.person[tested]) & set(cohort.person[others])
        assert len(fold.rows("val")) > 0


def test_each_fold_holds_common_and_rare_combinations_and_seeds_differ(cohort: Cohort) -> None:
    """Of each `num` combinations next to each other in size, every fold has one."""
    groups = Groups.fit(cohort.present_NM, cohort.spec.modality_names)
    id_N = groups.ids(cohort.present_NM)
    dealt = {seed: leave_combinations_out(cohort, 2, seed) for seed in range(4)}
    of_fold = {s: [set(id_N[f.rows("test")].tolist()) for f in folds] for s, folds in dealt.items()}
    for tested in of_fold.values():
        for first in range(0, len(groups) - 1, 2):
            assert all(len(own & {first, first + 1}) == 1 for own in tested)
    assert len({str(tested) for tested in of_fold.values()}) > 1
    said = rf"has {len(groups)} combinations .*: ask for --folds {len(groups)} or fewer"
    with pytest.raises(InputError, match=said):
        leave_combinations_out(cohort, len(groups) + 1, 0)


def test_a_modality_that_is_gone_leaves_no_trace(cohort: Cohort) -> None:
    test = shifted(cohort, "labs")
    kept = cohort.present_NM[:, 1] & (cohort.present_NM.sum(axis=1) > 1)
    assert list(test.ids) == list(cohort.ids[kept])
    encoding = Encoding.fit(cohort, np.arange(300))
    table = flat_table(encoding, test)
    labs = [at for at, name in enumerate(table.names) if name.startswith(("labs", "lactate"))]
    assert labs
    assert np.isnan(table.x_NF[:, labs]).all()
    assert (encoding.transform(test).present_NM == test.present_NM).all()


def test_a_plan_hides_what_is_named_or_the_most_observed(cohort: Cohort) -> None:
    assert make_plan("combinations", ["ecg", "labs", "ecg"], cohort).hide == ("ecg", "labs")
    share = dict(zip(cohort.spec.modality_names, cohort.present_NM.mean(axis=0), strict=True))
    assert list(most_observed(cohort)) == sorted(share, key=lambda name: -share[name])
    everyone = replace(cohort, present_NM=cohort.present_NM | np.array([True, False, False]))
    assert most_observed(everyone)[-1] == "vitals"
    assert make_plan("cross-validation", ["auto"], cohort).hide == most_observed(cohort)
    for kind, hide, said in (
        ("combinations", ["lab"], 'no modality "lab"; did you mean "labs"'),
        ("combination", [], 'no split "combination"; did you mean "combinations"'),
    ):
        with pytest.raises(InputError, match=said):
            make_plan(kind, hide, cohort)


def test_patients_are_predicted_as_observed_and_without_each_modality(cohort: Cohort) -> None:
    plan = make_plan("cross-validation", ["vitals", "labs"], cohort)
    (fold, _) = plan.folds(cohort, 2, 0)
    tests = plan.tests(fold)
    assert list(tests) == ["test", "test without vitals", "test without labs"]
    whole = tests.pop("test")
    assert list(whole.ids) == list(fold.ids[fold.rows("test")])
    for m, test in enumerate(tests.values()):
        assert not test.present_NM[:, m].any()
        assert test.present_NM.any(axis=1).all()
        assert set(test.ids) <= set(fold.ids[fold.rows("test")])
    nobody = replace(cohort, present_NM=np.eye(3, dtype=bool)[np.zeros(len(cohort), int)])
    with pytest.raises(InputError, match='no test patient of a fold is observed in "labs"'):
        shifted(nobody, "labs")


def test_a_size_falls_into_the_block_that_its_name_says() -> None:
    block = pd.Series(block_of_size(np.array([0, 4, 5, 19, 20]), (5, 20)))
    assert list(block) == ["< 5", "< 5", "5–19", "5–19", "≥ 20"]


def _cohort(labels: Sequence[str], persons: Sequence[int] | None = None) -> Cohort:
    """Patients with labels, some of whom are observed in "a" and "b", the others in "a" alone."""
    about = {"name": "small", "table": "p.csv", "id": "id", "label": "y"}
    about["task"] = "binary" if len(set(labels)) == 2 else "multiclass"
    frame = pd.DataFrame({"id": range(len(labels)), "y": labels, "x": 1.0, "z": 1.0})
    frame.loc[::3, "z"] = np.nan
    if persons is not None:
        about["group_by"] = "who"
        frame["who"] = persons
    modalities = {name: {"kind": "tabular", "columns": [c]} for name, c in (("a", "x"), ("b", "z"))}
    content = {"cohort": about, "modalities": modalities}
    return cohort_from_frame(frame, spec_from_dict(content, root=Path(), source="test"))


@pytest.mark.parametrize(
    ("labels", "persons", "num"),
    [
        (["no", "yes"] * 3, None, 3),
        (["no", "yes"] * 6, None, 5),
        (["no", "yes"] * 10, None, 10),
        (["no", "yes"] * 10, [n % 8 for n in range(20)], 5),
        (["no"] * 30 + ["yes"] * 2, None, 5),
        (["no"] * 30 + ["yes"] * 2, None, 2),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_few_patients_are_dealt_with_every_class_in_training_and_somebody_to_validate(
    labels: list[str], persons: list[int] | None, num: int, seed: int
) -> None:
    cohort = _cohort(labels, persons)
    assert cohort.label_N is not None
    folds = make_plan("cross-validation", (), cohort).folds(cohort, num, seed)
    assert len(folds) == num
    for fold in folds:
        train, val, test = (fold.rows(name) for name in ("train", "val", "test"))
        assert set(cohort.label_N[train]) == set(cohort.label_N)
        assert len(val) > 0
        assert len(test) > 0
        assert not set(cohort.person[val]) & set(cohort.person[train])


ALIVE_OR_DEAD = ["alive", "dead"] * 15
MERGE = 'merge it with another class of "y", or leave it out'
IMPOSSIBLE = [
    (
        "cross-validation",
        _cohort([*ALIVE_OR_DEAD, "transferred"]),
        'the class "transferred" has one patient, who cannot be both in training and in test: '
        + MERGE,
    ),
    (
        "cross-validation",
        _cohort(["no"] * 20 + ["yes"]),
        'the class "yes" has one patient, who cannot be both in training and in test: add patients '
        "of this class",
    ),
    (
        "combinations",
        _cohort([*ALIVE_OR_DEAD, "away", "away"], [*range(30), 30, 30]),
        'the class "away" has patients of one value of "who" only, who cannot be both in training '
        f"and in test: {MERGE}",
    ),
    (
        "combinations",
        _cohort(["no", *["yes"] * 5] * 5),
        'all patients of the class "no" are in the test of one fold, and none is left for '
        "training: ask for --split cross-validation",
    ),
    (
        "cross-validation",
        _cohort(["no", "yes"] * 2),
        "is too small: one of 2 folds has no test or no validation patient: ask for another number "
        "of --folds, or add patients",
    ),
]


@pytest.mark.parametrize(("kind", "cohort", "said"), IMPOSSIBLE)
def test_a_cohort_that_no_folds_can_be_made_of_is_told_what_to_do(
    kind: str, cohort: Cohort, said: str
) -> None:
    with pytest.raises(InputError, match=f'^the cohort "small".* {re.escape(said)}$'):
        make_plan(kind, (), cohort).folds(cohort, 2, 0)


@pytest.mark.parametrize(
    ("kind", "cohort", "why", "most"),
    [
        (
            "cross-validation",
            _cohort(["no", "yes"] * 4),
            "has 4 patients of its largest class, and cannot be dealt into 7 folds",
            4,
        ),
        (
            "cross-validation",
            _cohort(["no", "yes"] * 10, [n % 10 // 2 for n in range(20)]),
            'has 5 values of "who", which are not divided, and cannot be dealt into 7 folds',
            5,
        ),
        (
            "combinations",
            _cohort(ALIVE_OR_DEAD),
            "has 2 combinations of modalities, too few to leave them out in 7 folds",
            2,
        ),
    ],
)
def test_too_many_folds_are_refused_with_a_number_that_works(
    kind: str, cohort: Cohort, why: str, most: int
) -> None:
    plan = make_plan(kind, (), cohort)
    remedy = f"ask for --folds {most}" + (" or fewer" if most > 2 else "")
    with pytest.raises(InputError, match=f'^the cohort "small" {re.escape(why)}: {remedy}$'):
        plan.folds(cohort, 7, 0)
    for num in range(2, most + 1):
        assert len(plan.folds(cohort, num, 0)) == num


def test_without_combinations_the_other_split_is_named(cohort: Cohort) -> None:
    whole = replace(cohort, present_NM=np.ones_like(cohort.present_NM))
    with pytest.raises(InputError, match=r"observed in the same modalities: ask for --split cross"):
        make_plan("combinations", (), whole).folds(whole, 2, 0)
