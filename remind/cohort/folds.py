"""Folds: patients dealt into parts, alike in their labels, and persons never divided."""

# N patients

import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from remind.cohort.cohort import Cohort
from remind.errors import InputError


def most_folds(cohort: Cohort, rows: np.ndarray) -> int:
    """Parts that some rows can be dealt into at most: rows of the largest class, or persons."""
    return min(_most_of_a_class(cohort, rows), _num_persons(cohort, rows))


def assign_folds(cohort: Cohort, rows: np.ndarray, num: int, seed: int) -> np.ndarray:
    """Fold 0..num-1 of each of some rows: stratified by label, persons together.

    Raises:
        InputError: no class has so many rows, or there are fewer persons.
    """
    assert cohort.label_N is not None
    too_small = f'the cohort "{cohort.spec.cohort.name}" is too small'
    dealt = f"{len(rows)} patients that are dealt into {num} parts"
    if _most_of_a_class(cohort, rows) < num:
        raise InputError(f"{too_small}: none of its classes has {num} of the {dealt}")
    if (persons := _num_persons(cohort, rows)) < num:
        raise InputError(
            f'{too_small}: the {dealt} have {persons} values of "{cohort.spec.cohort.group_by}", '
            "which are not divided"
        )
    is_grouped = cohort.spec.cohort.group_by is not None
    kind = StratifiedGroupKFold if is_grouped else StratifiedKFold
    splitter = kind(num, shuffle=True, random_state=seed)
    fold_N = np.empty(len(rows), dtype=np.int64)
    person = pd.factorize(cohort.person[rows])[0] if is_grouped else None
    with warnings.catch_warnings():
        # A class rarer than the folds is dealt as far as it goes.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for fold, (_, held_out) in enumerate(splitter.split(rows, cohort.label_N[rows], person)):
            fold_N[held_out] = fold
    return fold_N


def _most_of_a_class(cohort: Cohort, rows: np.ndarray) -> int:
    assert cohort.label_N is not None
    return int(np.bincount(cohort.label_N[rows]).max(initial=0))


def _num_persons(cohort: Cohort, rows: np.ndarray) -> int:
    return len(pd.unique(cohort.person[rows]))  # without `group_by` every patient is one
