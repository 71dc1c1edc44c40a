"""Folds: patients dealt into parts, alike in their labels, and persons never divided."""

# N patients

import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from remind.cohort.cohort import Cohort


def most_folds(cohort: Cohort, rows: np.ndarray) -> int:
    """Parts that some rows can be dealt into at most: rows of the largest class, or persons."""
    assert cohort.label_N is not None
    most_of_a_class = int(np.bincount(cohort.label_N[rows]).max(initial=0))
    num_persons = len(pd.unique(cohort.person[rows]))  # without `group_by` every patient is one
    return min(most_of_a_class, num_persons)


def assign_folds(cohort: Cohort, rows: np.ndarray, num: int, seed: int) -> np.ndarray:
    """Fold 0..num-1 of each of some rows: stratified by label, persons together.

    Args:
        rows: of labelled patients.
        num: parts, 2..most_folds(cohort, rows).
        seed: another seed, other parts.
    """
    assert cohort.label_N is not None
    assert 2 <= num <= most_folds(cohort, rows)
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
