"""CatBoost on the flattened table, missing values and categories as they are (`catboost`).

Prokhorenkova et al. 2018: symmetric trees; a category becomes statistics of the label over the
patients before it in random orders. A missing number is below all others; a missing category is a
category. Left open by the library's defaults and chosen here: plain boosting (the ordered kind took
twice the time on SUPPORT2 and validated alike), the learning rate, row and column subsampling, and
the number of trees by early stopping on validation log loss.

N patients, F flat columns, C classes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from remind.baselines.trees import EXTRA, TreesConfig, both_classes, labelled_rows, num_rounds
from remind.cohort import Cohort, Encoding, FlatTable, flat_table
from remind.cohort.extras import require
from remind.errors import InputError
from remind.objectives.checks import check_number, check_whole

FILE = "model.cbm"
MISSING = -1
"""Code of a missing category."""


@dataclass(frozen=True, kw_only=True)
class CatBoostConfig(TreesConfig):
    """Settings of the trees.

    Attributes:
        depth: splits between root and leaf, in 1..16.
        l2: penalty of squared leaf values.
    """

    depth: int = 6
    l2: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("depth", self.depth, at_least=1)
        check_number("depth", self.depth, at_least=1, at_most=16)
        check_number("l2", self.l2, at_least=0)


class CatBoostPredictor:
    """Trained trees and the encoding that they read through."""

    def __init__(self, booster: Any, encoding: Encoding) -> None:
        self.booster = booster
        self.encoding = encoding

    def predict_proba(self, cohort: Cohort) -> np.ndarray:
        """Return probabilities (N, C)."""
        pool = _pool(flat_table(self.encoding, cohort))
        return both_classes(self.booster.predict(pool, prediction_type="Probability"))

    def save(self, folder: Path) -> None:
        """Write the trees as CatBoost's own binary."""
        self.booster.save_model(str(folder / FILE))

    @classmethod
    def load(cls, folder: Path, encoding: Encoding) -> Self:
        """Read what ``save`` wrote."""
        return cls(_library().CatBoost().load_model(str(folder / FILE)), encoding)


def fit_catboost(
    cohort: Cohort,
    encoding: Encoding,
    config: CatBoostConfig,
    *,
    train_rows: np.ndarray,
    val_rows: np.ndarray,
    seed: int,
) -> CatBoostPredictor:
    """Fit on training rows; validation rows choose the number of trees.

    Raises:
        InputError: catboost is not installed, or training has one class or no column that varies.
    """
    library = _library()
    num_classes = len(encoding.classes)
    train, val = labelled_rows(cohort, encoding, train_rows, val_rows)
    params: dict[str, Any] = {
        "loss_function": "Logloss",
        "iterations": num_rounds(config, val is not None),
        "learning_rate": config.learning_rate,
        "depth": config.depth,
        "l2_leaf_reg": config.l2,
        "bootstrap_type": "Bernoulli",
        "subsample": config.subsample,
        "rsm": config.column_subsample,
        "random_seed": seed,
        "thread_count": torch.get_num_threads(),  # by itself it takes all cores
        "allow_writing_files": False,
        "logging_level": "Silent",
    }
    if num_classes > 2:
        params |= {"loss_function": "MultiClass", "classes_count": num_classes}
    stopping: dict[str, Any] = {}
    if val is not None:
        rounds = config.stopping_rounds
        stopping = {
            "eval_set": _pool(*val),
            "use_best_model": True,
            "early_stopping_rounds": rounds,
        }
    try:
        booster = library.CatBoost(params).fit(_pool(*train), **stopping)
    except library.CatBoostError as error:
        reason = str(error).rpartition(": ")[2]
        raise InputError(f"catboost cannot learn from these training patients: {reason}") from error
    return CatBoostPredictor(booster, encoding)


def _library() -> Any:
    return require("catboost", EXTRA, "the method catboost")


def _pool(table: FlatTable, label_N: np.ndarray | None = None) -> Any:
    """Numbers as they are, then categories as text."""
    library = _library()
    is_category_F = np.zeros(table.x_NF.shape[1], dtype=bool)
    is_category_F[table.categorical] = True
    number_NF, code_NF = table.x_NF[:, ~is_category_F], table.x_NF[:, is_category_F]
    text_NF = np.nan_to_num(code_NF, nan=MISSING).astype(np.int64).astype(bytes).astype(object)
    values = library.FeaturesData(
        num_feature_data=np.ascontiguousarray(number_NF) if number_NF.shape[1] else None,
        cat_feature_data=text_NF if text_NF.shape[1] else None,
    )
    return library.Pool(values, label_N)
