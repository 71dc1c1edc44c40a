"""How patients are dealt into training, validation and test, fold by fold.

- cross-validation: stratified by label; each patient is in the test of one fold;
- combinations: whole combinations of modalities are dealt, so that no test patient's combination
  was seen in training; each fold holds common and rare ones.

In each, a stratified tenth of the others is the validation split, a larger share where they cannot
be dealt into ten. Persons stay together. The test patients can be predicted once more as if a
modality had not been observed, as when a hospital stops a test (`shifted`).
"""

# N patients, M modalities, G combinations, K folds

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd

from remind.benchmark.statistics import TEST, WITHOUT
from remind.cohort import Cohort, Groups
from remind.cohort.folds import assign_folds, most_folds
from remind.errors import InputError, did_you_mean

KINDS = ("cross-validation", "combinations")
AUTO = "auto"
NUM_HIDDEN = 3
NUM_PARTS = 10
"""Of those that are not in the test, one part is the validation split."""
UNUSED = "unused"
"""The split of a row that neither trains nor tests: another row of its person is in the test."""


@dataclass(frozen=True, kw_only=True)
class SplitPlan:
    """Which folds are made of a cohort.

    Args:
        kind: of `KINDS`.
        hide: modalities without which test patients are predicted as well, one at a time.
    """

    kind: str = "cross-validation"
    hide: tuple[str, ...] = ()

    def folds(self, cohort: Cohort, num: int, seed: int) -> list[Cohort]:
        """The cohort with the splits of each fold.

        Raises:
            InputError: there are too few patients, persons of a class or combinations.
        """
        _check_persons(cohort)
        if self.kind == "combinations":
            return leave_combinations_out(cohort, num, seed)
        return cross_validation(cohort, num, seed)

    def tests(self, cohort: Cohort) -> dict[str, Cohort]:
        """The patients to predict in a fold, by the name of the split that they are shown under."""
        test = cohort.select(cohort.rows("test"))
        return {TEST: test} | {f"{TEST} {WITHOUT}{name}": shifted(test, name) for name in self.hide}


def make_plan(kind: str, hide: Sequence[str], cohort: Cohort) -> SplitPlan:
    """The plan of a cohort; "auto" hides `most_observed`.

    Raises:
        InputError: no such split or modality.
    """
    if kind not in KINDS:
        near = did_you_mean(kind, KINDS)
        raise InputError(f'no split "{kind}"{near} (there are {", ".join(KINDS)})')
    known = cohort.spec.modality_names
    if list(hide) == [AUTO] and AUTO not in known:
        hide = most_observed(cohort)
    for name in hide:
        if name not in known:
            near = did_you_mean(name, known)
            raise InputError(f'--hide: no modality "{name}"{near} (there are {", ".join(known)})')
    return SplitPlan(kind=kind, hide=tuple(dict.fromkeys(hide)))


def most_observed(cohort: Cohort) -> tuple[str, ...]:
    """Up to three modalities that most patients have, but not all if there are others.

    A hospital that stops a test has done without it before. Of equal ones the first named.
    """
    num_M = cohort.present_NM.sum(axis=0)
    order_M = np.argsort(-np.where(num_M == len(cohort), 0, num_M), kind="stable")
    return tuple(cohort.spec.modality_names[m] for m in order_M[:NUM_HIDDEN])


def cross_validation(cohort: Cohort, num_folds: int, seed: int) -> list[Cohort]:
    """The cohort with the splits of each fold: it is "test", a tenth of the others is "val".

    Raises:
        InputError: there are fewer persons than folds, or patients of the largest class.
    """
    rows = np.arange(len(cohort))
    most = most_folds(cohort, rows)
    if num_folds > most:
        persons = len(pd.unique(cohort.person))
        has = (
            f'has {persons} values of "{cohort.spec.cohort.group_by}", which are not divided'
            if cohort.spec.cohort.group_by is not None and persons == most
            else f"has {most} patients of its largest class"
        )
        raise InputError(
            f"{_name(cohort)} {has}, and cannot be dealt into {num_folds} folds: {_at_most(most)}"
        )
    remedy = _other_classes(cohort)
    return _folds(cohort, assign_folds(cohort, rows, num_folds, seed), num_folds, seed, remedy)


def leave_combinations_out(cohort: Cohort, num_folds: int, seed: int) -> list[Cohort]:
    """The cohort with the splits of each fold, in which whole combinations are "test".

    Combinations in the order of their size are taken `num_folds` at a time, and each of these goes
    to another fold at random, so that common and rare ones are in all.

    Raises:
        InputError: there are fewer combinations than folds.
    """
    groups = Groups.fit(cohort.present_NM, cohort.spec.modality_names)
    if (num := len(groups)) < 2:
        raise InputError(
            f"all patients of {_name(cohort)} are observed in the same modalities: ask for --split "
            "cross-validation"
        )
    if num < num_folds:
        raise InputError(
            f"{_name(cohort)} has {num} combinations of modalities, too few to leave them out in "
            f"{num_folds} folds: {_at_most(num)}"
        )
    rng = np.random.default_rng([seed, *b"combinations"])
    num_rounds = -(-num // num_folds)
    dealt_RK = rng.permuted(np.tile(np.arange(num_folds), (num_rounds, 1)), axis=1)
    fold_G = dealt_RK.ravel()[:num]
    remedy = "ask for --split cross-validation"
    return _folds(cohort, fold_G[groups.ids(cohort.present_NM)], num_folds, seed, remedy)


def shifted(test: Cohort, name: str) -> Cohort:
    """The patients in whom a modality was observed beside others, as if it had not been.

    Raises:
        InputError: there is no such patient.
    """
    m = test.spec.modality_names.index(name)
    rows = np.flatnonzero(test.present_NM[:, m] & (test.present_NM.sum(axis=1) > 1))
    if len(rows) == 0:
        raise InputError(
            f'--hide: no test patient of a fold is observed in "{name}" and in something else: '
            "hide another modality, or ask for fewer --folds"
        )
    patients = test.select(rows)
    present_NM = patients.present_NM.copy()
    present_NM[:, m] = False
    return replace(patients, present_NM=present_NM)


def size_blocks(edges: Sequence[int]) -> list[str]:
    """Names of the blocks that sizes of combinations are cut into, smallest first."""
    between = [f"{low}–{high - 1}" for low, high in pairwise(edges)]
    return [f"< {edges[0]}", *between, f"≥ {edges[-1]}"]


def block_of_size(size_N: np.ndarray, edges: Sequence[int]) -> np.ndarray:
    """The name of each size's block."""
    return np.array(size_blocks(edges))[np.searchsorted(edges, size_N, side="right")]


def size_of_combination(cohort: Cohort, present_NM: np.ndarray) -> np.ndarray:
    """Patients of the whole cohort that are observed in the same modalities, int64 (N,)."""
    groups = Groups.fit(cohort.present_NM, cohort.spec.modality_names)
    return groups.n_train(present_NM)


def parse_edges(text: str) -> tuple[int, ...]:
    """Sizes with commas.

    Raises:
        InputError: they are no whole numbers.
    """
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts):
        raise InputError(f'--edges takes whole numbers with commas, such as 50,200, got "{text}"')
    return tuple(sorted({int(part) for part in parts}))


def _folds(
    cohort: Cohort, fold_N: np.ndarray, num_folds: int, seed: int, remedy: str
) -> list[Cohort]:
    """Each fold as "test", and a stratified part of the others as "val".

    Args:
        fold_N: 0..num_folds-1.
        seed: of the validation splits.
        remedy: for a class that is whole in the test of one fold.
    """
    assert cohort.label_N is not None
    person_N = pd.factorize(cohort.person)[0]
    folds = []
    for fold in range(num_folds):
        is_test_N = fold_N == fold
        split = np.where(is_test_N, "test", "train").astype("<U6")
        is_tested_N = np.isin(person_N, person_N[is_test_N])
        split[is_tested_N & ~is_test_N] = UNUSED
        lost = np.setdiff1d(cohort.label_N, cohort.label_N[~is_tested_N])
        if len(lost):
            raise InputError(
                f'{_name(cohort)}: all patients of the class "{cohort.classes[lost[0]]}" are in '
                f"the test of one fold, and none is left for training: {remedy}"
            )
        split[_validation(cohort, np.flatnonzero(~is_tested_N), seed)] = "val"
        if not ((split == "val").any() and (split == "test").any()):
            raise InputError(
                f"{_name(cohort)} is too small: one of {num_folds} folds has no test or no "
                "validation patient: ask for another number of --folds, or add patients"
            )
        folds.append(replace(cohort, split=split))
    return folds


def _validation(cohort: Cohort, rows: np.ndarray, seed: int) -> np.ndarray:
    """Those of some rows that are "val": every class that they have is in the others too."""
    assert cohort.label_N is not None
    num_parts = min(NUM_PARTS, most_folds(cohort, rows))
    if num_parts < 2:
        return rows[:0]
    is_val_n = assign_folds(cohort, rows, num_parts, seed) == 0
    label_n, person_n = cohort.label_N[rows], cohort.person[rows]
    is_lost_n = is_val_n & ~np.isin(label_n, label_n[~is_val_n])
    return rows[is_val_n & ~np.isin(person_n, person_n[is_lost_n])]


def _check_persons(cohort: Cohort) -> None:
    """Every class has two persons, one to train with and one to test with."""
    assert cohort.label_N is not None
    pairs = pd.DataFrame({"label": cohort.label_N, "person": cohort.person}).drop_duplicates()
    num_C = np.bincount(pairs["label"], minlength=len(cohort.classes))
    if (num_C != 1).all():
        return
    c = int((num_C == 1).argmax())
    group_by = cohort.spec.cohort.group_by
    has = "one patient" if group_by is None else f'patients of one value of "{group_by}" only'
    raise InputError(
        f'{_name(cohort)}: the class "{cohort.classes[c]}" has {has}, who cannot be both in '
        f"training and in test: {_other_classes(cohort)}"
    )


def _other_classes(cohort: Cohort) -> str:
    """What to do about a class that cannot be split."""
    if len(cohort.classes) == 2:
        return "add patients of this class"
    return f'merge it with another class of "{cohort.spec.cohort.label}", or leave it out'


def _at_most(num_folds: int) -> str:
    return f"ask for --folds {num_folds}" + (" or fewer" if num_folds > 2 else "")


def _name(cohort: Cohort) -> str:
    return f'the cohort "{cohort.spec.cohort.name}"'
