"""A teacher for networks: probabilities of boosted trees that have not seen the patient.

Every training patient is predicted by trees that were grown without it, the folds of stacked
generalisation (Wolpert 1992); a validation patient, by whom the trees are stopped, by the mean of
all of them. As targets beside the labels (`remind.training.teacher`) they say how sure one can be
of a patient, which one label does not, and few patients of a rare combination do not teach a
network.

N patients, C classes, K folds.
"""

import numpy as np

from remind.baselines.lightgbm import LightGBMConfig, LightGBMPredictor, fit_lightgbm
from remind.cohort import Cohort, Encoding
from remind.cohort.arrays import chunks
from remind.cohort.folds import assign_folds, most_folds

NUM_FOLDS = 5
TREES = LightGBMConfig(learning_rate=0.1)
"""A third of the trees of the peer: they are grown once per fold."""
MOST_ROWS = 100_000
"""Patients that trees are grown on at most, and that are a table in memory at once."""


def out_of_fold_trees(cohort: Cohort, encoding: Encoding, seed: int) -> np.ndarray | None:
    """Probabilities of LightGBM for patients that it was not grown on.

    Args:
        cohort: with splits; trees are grown on "train", and "val" says when they stop.
        encoding: of the training patients.
        seed: of the folds and of the trees.

    Returns:
        float32 (N, C), NaN for patients of other splits; None with too few patients or persons.
    """
    train_rows, val_rows = cohort.rows("train"), cohort.rows("val")
    num_folds = min(NUM_FOLDS, most_folds(cohort, train_rows))
    if num_folds < 2:
        return None
    fold_N = assign_folds(cohort, train_rows, num_folds, seed)
    prob_NC = np.full((len(cohort), len(encoding.classes)), np.nan, dtype=np.float32)
    prob_NC[val_rows] = 0.0
    random = np.random.default_rng([seed, *b"teacher"])
    stopped_by = _at_most(val_rows, random)
    for fold in range(num_folds):
        trees = fit_lightgbm(
            cohort,
            encoding,
            TREES,
            train_rows=_at_most(train_rows[fold_N != fold], random),
            val_rows=stopped_by,
            seed=seed,
        )
        held_out = train_rows[fold_N == fold]
        prob_NC[held_out] = _predict(trees, cohort, held_out)
        prob_NC[val_rows] += _predict(trees, cohort, val_rows) / num_folds
    return prob_NC


def _at_most(rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= MOST_ROWS else random.choice(rows, MOST_ROWS, replace=False)


def _predict(trees: LightGBMPredictor, cohort: Cohort, rows: np.ndarray) -> np.ndarray:
    parts = [trees.predict_proba(cohort.select(rows[c])) for c in chunks(len(rows), MOST_ROWS)]
    return np.concatenate([np.zeros((0, len(trees.encoding.classes))), *parts])
