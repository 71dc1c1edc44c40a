"""What boosted trees of every library share: settings, labelled rows, probabilities.

N patients, F flat columns, C classes.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from remind.cohort import Cohort, Encoding, FlatTable, flat_table
from remind.objectives.checks import check_number, check_whole

EXTRA = "trees"
"""Of remind-med: installs the libraries that are optional."""

TREES_WITHOUT_VALIDATION = 250


@dataclass(frozen=True, kw_only=True)
class TreesConfig:
    """Settings of all boosted trees.

    Attributes:
        trees: most trees.
        learning_rate: shrinkage of every tree.
        subsample: share of patients of a tree.
        column_subsample: share of columns of a tree.
        stopping_rounds: trees without improvement in validation before training stops.
    """

    trees: int = 1000
    learning_rate: float = 0.03
    subsample: float = 0.8
    column_subsample: float = 0.5
    stopping_rounds: int = 50

    def __post_init__(self) -> None:
        check_whole("trees", self.trees, at_least=1)
        check_number("learning_rate", self.learning_rate, above=0)
        check_number("subsample", self.subsample, above=0, at_most=1)
        check_number("column_subsample", self.column_subsample, above=0, at_most=1)
        check_whole("stopping_rounds", self.stopping_rounds, at_least=1)


class Rows(NamedTuple):
    """Labelled patients as trees take them.

    Attributes:
        table: of these patients only; NaN where missing.
        label_N: class index.
    """

    table: FlatTable
    label_N: np.ndarray


def labelled_rows(
    cohort: Cohort, encoding: Encoding, train_rows: np.ndarray, val_rows: np.ndarray
) -> tuple[Rows, Rows | None]:
    """Return training and validation patients; None for the latter if there are none."""
    label_N = cohort.label_N
    assert label_N is not None
    train = Rows(flat_table(encoding, cohort.select(train_rows)), label_N[train_rows])
    if len(val_rows) == 0:
        return train, None
    return train, Rows(flat_table(encoding, cohort.select(val_rows)), label_N[val_rows])


def num_rounds(config: TreesConfig, has_validation: bool) -> int:
    """Return the most trees to grow: without validation nothing else stops them."""
    return config.trees if has_validation else min(config.trees, TREES_WITHOUT_VALIDATION)


def both_classes(prob: np.ndarray) -> np.ndarray:
    """Return float64 probabilities (N, C) that sum to 1; from (N,), those of the second of two."""
    prob = np.asarray(prob, dtype=np.float64)
    if prob.ndim == 1:
        return np.stack([1 - prob, prob], axis=1)
    return prob / prob.sum(axis=1, keepdims=True)
