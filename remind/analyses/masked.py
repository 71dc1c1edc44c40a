"""Patients observed in less than they were, and who can be: hiding of modalities by the row.

Hiding goes through the cohort, not through a batch: values of a hidden modality leave no trace in
what any method sees, and the group is that of the combination that is left.
"""

# N rows, M modalities, C classes, U combinations, D donors, K most donors of a combination

from dataclasses import replace

import numpy as np

from remind.cohort import Cohort
from remind.training import Predictor

CHUNK_CELLS = 1 << 24


def observed_in(cohort: Cohort, rows: np.ndarray, present_NM: np.ndarray) -> Cohort:
    """Some rows, observed in no more than `present_NM`.

    Args:
        cohort: with the true presence.
        rows: (N,) of it; a row may come several times.
        present_NM: bool, a subset of the presence of each row, at least one modality each.

    Raises:
        ValueError: a row would gain a modality or lose all.
    """
    if (present_NM & ~cohort.present_NM[rows]).any():
        raise ValueError("a hidden presence must be a subset of the true one")
    if not present_NM.any(axis=1).all():
        raise ValueError("a patient must keep at least one modality")
    return replace(cohort.select(rows), present_NM=present_NM)


def probabilities(predictor: Predictor, cohort: Cohort) -> np.ndarray:
    """Probabilities (N, C); no patients give no rows, whatever the method makes of nobody."""
    if len(cohort) == 0:
        return np.zeros((0, len(cohort.classes)))
    return predictor.predict_proba(cohort)


def can_be(present_NM: np.ndarray, patterns_UM: np.ndarray) -> np.ndarray:
    """Whether each row can be masked down to each combination, bool (N, U); its own counts too."""
    lacks_NU = (~present_NM).astype(np.float32) @ patterns_UM.T.astype(np.float32)
    return lacks_NU == 0


def draw_combinations(
    present_NM: np.ndarray, patterns_UM: np.ndarray, counts_U: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """A combination that each row can be masked down to, int64 (N,), by counts; -1 if none."""
    drawn_N = np.empty(len(present_NM), dtype=np.int64)
    size = max(1, CHUNK_CELLS // len(patterns_UM))
    for start in range(0, len(present_NM), size):
        chunk = slice(start, start + size)
        fits_NU = can_be(present_NM[chunk], patterns_UM)
        key_NU = np.where(fits_NU, np.log(counts_U) + rng.gumbel(size=fits_NU.shape), -np.inf)
        drawn_N[chunk] = np.where(fits_NU.any(axis=1), key_NU.argmax(axis=1), -1)
    return drawn_N


def draw_donors(
    present_NM: np.ndarray, patterns_UM: np.ndarray, most: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """At most so many rows that can be masked down to each combination.

    Returns:
        rows (D,) and the combination of each (D,), int64; no row twice for one combination.
    """
    donors, patterns = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    size = max(1, CHUNK_CELLS // max(len(present_NM), 1))
    for start in range(0, len(patterns_UM), size):
        fits_NU = can_be(present_NM, patterns_UM[start : start + size])
        key_NU = np.where(fits_NU, rng.random(fits_NU.shape), 2.0)
        first_KU = np.argsort(key_NU, axis=0)[:most]
        kept_UK = np.take_along_axis(fits_NU, first_KU, axis=0).T
        donors.append(first_KU.T[kept_UK])
        patterns.append(start + np.nonzero(kept_UK)[0])
    return np.concatenate(donors), np.concatenate(patterns)
