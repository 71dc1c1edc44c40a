"""Folds: patients dealt into parts, alike in their labels, and persons never divided."""

# N patients

import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from remind.cohort.cohort import Cohort
from remind.errors import InputError


def assign_folds(cohort: Cohort, rows: np.ndarray, num: int, seed: int) -> np.ndarray:
    """Fold 0..num-1 of each of some rows: stratified by label, persons together.

    Raises:
        InputError: no class has so many rows.
    """
    assert cohort.label_N is not None
    if np.bincount(cohort.label_N[rows]).max() < num:
        raise InputError(
            f'the cohort "{cohort.spec.cohort.name}" is too small: none of its classes has {num} '
            f"of the {len(rows)} patients that are dealt into {num} parts"
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
