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

from remind.baselines.trees import Rows, TreesConfig, both_classes, labelled_rows, num_rounds
from remind.cohort import Cohort, Encoding, flat_table
from remind.objectives.checks import check_whole

FILE = "model.txt"
LAST_LINE = "pandas_categorical:"
MANY_CELLS = 1 << 19
"""In a smaller table one thread is as fast as many, which wait for each other beside other work."""


@dataclass(frozen=True, kw_only=True)
class LightGBMConfig(TreesConfig):
    """Settings of the trees.

    Attributes:
        leaves: most leaves of a tree, >= 2.
        min_leaf: fewest patients in a leaf.
    """

    leaves: int = 15
    min_leaf: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("leaves", self.leaves, at_least=2)
        check_whole("min_leaf", self.min_leaf, at_least=1)


class LightGBMPredictor:
    """Trained trees and the encoding that they read through."""

    def __init__(self, booster: lightgbm.Booster, encoding: Encoding) -> None:
        self.booster = booster
        self.encoding = encoding

    def predict_proba(self, cohort: Cohort) -> np.ndarray:
        """Return probabilities (N, C)."""
        prob = self.booster.predict(flat_table(self.encoding, cohort).x_NF)
        return both_classes(np.asarray(prob))

    def save(self, folder: Path) -> None:
        """Write the trees as LightGBM's own text."""
        self.booster.save_model(folder / FILE)

    @classmethod
    def load(cls, folder: Path, encoding: Encoding) -> Self:
        """Read what ``save`` wrote.

        Raises:
            ValueError: the end of the file is not there.
        """
        text = (folder / FILE).read_text(encoding="utf-8")
        if not text[text.rstrip("\n").rfind("\n") + 1 :].startswith(LAST_LINE):
            raise ValueError("it is cut short")  # the library would end the process
        return cls(lightgbm.Booster(model_str=text), encoding)


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
    if int(config.subsample * len(train_rows)) == 0:  # LightGBM refuses a sample of nobody
        params["bagging_fraction"] = 1.0
    train, val = labelled_rows(cohort, encoding, train_rows, val_rows)
    if train.table.x_NF.size < MANY_CELLS:
        params["num_threads"] = 1
    stopping = lightgbm.early_stopping(config.stopping_rounds, verbose=False)
    booster = lightgbm.train(
        params,
        _dataset(train),
        num_rounds(config, val is not None),
        valid_sets=None if val is None else [_dataset(val)],
        callbacks=None if val is None else [stopping],
    )
    return LightGBMPredictor(booster, encoding)


def _dataset(rows: Rows) -> lightgbm.Dataset:
    table, label_N = rows
    return lightgbm.Dataset(
        table.x_NF, label_N, categorical_feature=table.categorical, free_raw_data=False
    )
