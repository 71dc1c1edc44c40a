"""LightGBM on the flattened table, missing values as they are: the peer to beat on tabular cohorts.

Ke et al. 2017. Left open by the library's defaults and chosen here: a small learning rate, small
trees, row and column subsampling, and the number of trees by early stopping on validation log loss.

N patients, F flat columns, C classes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import lightgbm
import numpy as np

from remind.cohort import Cohort, Encoding, flat_table
from remind.errors import InputError

FILE = "model.txt"
TREES_WITHOUT_VALIDATION = 250


@dataclass(frozen=True, kw_only=True)
class LightGBMConfig:
    """Settings of the trees.

    Attributes:
        trees: most trees.
        learning_rate: shrinkage of every tree.
        leaves: most leaves of a tree.
        min_leaf: fewest patients in a leaf.
        subsample: share of patients of a tree.
        column_subsample: share of columns of a tree.
        stopping_rounds: trees without improvement in validation before training stops.
    """

    trees: int = 1000
    learning_rate: float = 0.03
    leaves: int = 15
    min_leaf: int = 20
    subsample: float = 0.8
    column_subsample: float = 0.5
    stopping_rounds: int = 50

    def __post_init__(self) -> None:
        for name in ("trees", "leaves", "min_leaf", "stopping_rounds"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")


class LightGBMPredictor:
    """Trained trees and the encoding that they read through."""

    def __init__(self, booster: lightgbm.Booster, encoding: Encoding) -> None:
        self.booster = booster
        self.encoding = encoding

    def predict_proba(self, cohort: Cohort) -> np.ndarray:
        """Return probabilities (N, C)."""
        prob = np.asarray(self.booster.predict(flat_table(self.encoding, cohort).x_NF))
        return np.stack([1 - prob, prob], axis=1) if prob.ndim == 1 else prob

    def save(self, folder: Path) -> None:
        """Write the trees as LightGBM's own text."""
        self.booster.save_model(folder / FILE)

    @classmethod
    def load(cls, folder: Path, encoding: Encoding) -> Self:
        """Read what ``save`` wrote."""
        return cls(lightgbm.Booster(model_file=folder / FILE), encoding)


def fit_lightgbm(
    cohort: Cohort,
    encoding: Encoding,
    config: LightGBMConfig,
    *,
    train_rows: np.ndarray,
    val_rows: np.ndarray,
    seed: int,
) -> LightGBMPredictor:
    """Fit on training rows; validation rows choose the number of trees."""
    table = flat_table(encoding, cohort)
    num_classes = len(encoding.classes)
    params = {
        "objective": "binary" if num_classes == 2 else "multiclass",
        "num_class": 1 if num_classes == 2 else num_classes,
        "learning_rate": config.learning_rate,
        "num_leaves": config.leaves,
        "min_data_in_leaf": config.min_leaf,
        "bagging_fraction": config.subsample,
        "bagging_freq": 1,
        "feature_fraction": config.column_subsample,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    assert cohort.label_N is not None
    train, val = (
        lightgbm.Dataset(
            table.x_NF[rows],
            cohort.label_N[rows],
            categorical_feature=table.categorical,
            free_raw_data=False,
        )
        for rows in (train_rows, val_rows)
    )
    stopping = lightgbm.early_stopping(config.stopping_rounds, verbose=False)
    has_val = len(val_rows) > 0
    booster = lightgbm.train(
        params,
        train,
        config.trees if has_val else min(config.trees, TREES_WITHOUT_VALIDATION),
        valid_sets=[val] if has_val else None,
        callbacks=[stopping] if has_val else None,
    )
    return LightGBMPredictor(booster, encoding)
