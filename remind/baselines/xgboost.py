"""XGBoost on the flattened table, missing values and categories as they are (`xgboost`).

Chen & Guestrin 2016: a missing value takes the side of every split that lowers the loss more.
Categories are split into sets of codes, by the library's own search; a category that training did
not have is in no set. Left open by the library's defaults and chosen here: a small learning rate,
small trees, row and column subsampling, and the number of trees by early stopping on validation log
loss.

N patients, F flat columns, C classes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from remind.baselines.trees import (
    EXTRA,
    TreesConfig,
    both_classes,
    labelled_rows,
    num_rounds,
)
from remind.cohort import Cohort, Encoding, FlatTable, flat_table
from remind.cohort.extras import require
from remind.objectives.checks import check_number, check_whole

FILE = "model.ubj"


@dataclass(frozen=True, kw_only=True)
class XGBoostConfig(TreesConfig):
    """Settings of the trees.

    Attributes:
        depth: most splits between root and leaf.
        min_child_weight: least sum of second derivatives in a leaf, p (1 - p) per patient.
        l2: penalty of squared leaf values.
    """

    depth: int = 5
    min_child_weight: float = 5.0
    l2: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("depth", self.depth, at_least=1)
        check_number("min_child_weight", self.min_child_weight, at_least=0)
        check_number("l2", self.l2, at_least=0)


class XGBoostPredictor:
    """Trained trees and the encoding that they read through."""

    def __init__(self, booster: Any, encoding: Encoding) -> None:
        self.booster = booster
        self.encoding = encoding

    def predict_proba(self, cohort: Cohort) -> np.ndarray:
        """Return probabilities (N, C)."""
        return both_classes(self.booster.predict(_matrix(flat_table(self.encoding, cohort))))

    def save(self, folder: Path) -> None:
        """Write the trees as XGBoost's own universal binary JSON."""
        self.booster.save_model(folder / FILE)

    @classmethod
    def load(cls, folder: Path, encoding: Encoding) -> Self:
        """Read what ``save`` wrote."""
        return cls(_library().Booster(model_file=folder / FILE), encoding)


def fit_xgboost(
    cohort: Cohort,
    encoding: Encoding,
    config: XGBoostConfig,
    *,
    train_rows: np.ndarray,
    val_rows: np.ndarray,
    seed: int,
) -> XGBoostPredictor:
    """Fit on training rows; validation rows choose the number of trees.

    Raises:
        InputError: xgboost is not installed.
    """
    library = _library()
    num_classes = len(encoding.classes)
    params: dict[str, Any] = {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "learning_rate": config.learning_rate,
        "max_depth": config.depth,
        "min_child_weight": config.min_child_weight,
        "reg_lambda": config.l2,
        "subsample": config.subsample,
        "colsample_bytree": config.column_subsample,
        "tree_method": "hist",
        "seed": seed,
        "verbosity": 0,
    }
    if num_classes > 2:
        params |= {
            "objective": "multi:softprob",
            "eval_metric": "mlogloss",
            "num_class": num_classes,
        }
    train, val = labelled_rows(cohort, encoding, train_rows, val_rows)
    booster = library.train(
        params,
        _matrix(*train),
        num_rounds(config, val is not None),
        evals=None if val is None else [(_matrix(*val), "val")],
        early_stopping_rounds=None if val is None else config.stopping_rounds,
        verbose_eval=False,
    )
    if val is not None:
        booster = booster[: booster.best_iteration + 1]
    return XGBoostPredictor(booster, encoding)


def _library() -> Any:
    return require("xgboost", EXTRA, "the method xgboost")


def _matrix(table: FlatTable, label_N: np.ndarray | None = None) -> Any:
    kinds = np.full(table.x_NF.shape[1], "q")
    kinds[table.categorical] = "c"
    return _library().DMatrix(table.x_NF, label_N, feature_types=kinds.tolist())
