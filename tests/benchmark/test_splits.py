"""Whom a fold tests and what training may know of them."""

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
    with pytest.raises(InputError, match=rf"has {len(groups)} combinations .* ask for fewer folds"):
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
    with pytest.raises(InputError, match='no test patient is observed in "labs"'):
        shifted(nobody, "labs")


def test_a_size_falls_into_the_block_that_its_name_says() -> None:
    block = pd.Series(block_of_size(np.array([0, 4, 5, 19, 20]), (5, 20)))
    assert list(block) == ["< 5", "< 5", "5–19", "5–19", "≥ 20"]


def test_cohorts_that_are_too_small_are_refused_in_a_sentence(cohort: Cohort) -> None:
    with pytest.raises(InputError, match="too small: none of its classes has 10"):
        make_plan("cross-validation", (), cohort).folds(cohort.select(np.arange(16)), 2, 0)
    labels = np.zeros(len(cohort), dtype=np.int64)
    labels[0] = 1
    rare = replace(cohort, label_N=labels)
    with pytest.raises(InputError, match='no training patient of the class "1"'):
        make_plan("cross-validation", (), rare).folds(rare, 2, 0)
