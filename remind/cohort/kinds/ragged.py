"""Ragged values: any number of items per patient, one after the other."""

# N patients, V items

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Ragged:
    """Items of N patients: those of patient i are ``start_N1[i] : start_N1[i + 1]`` of each column.

    Args:
        start_N1: int64 (N + 1,).
        columns: name -> values of the items, leading axis V.
    """

    start_N1: np.ndarray
    columns: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, owner_V: np.ndarray, num_patients: int, columns: Mapping[str, np.ndarray]) -> Self:
        """Sort items by patient; items of one patient keep their order."""
        order_V = np.argsort(owner_V, kind="stable")
        counts_N = np.bincount(owner_V, minlength=num_patients)
        start_N1 = np.concatenate([[0], np.cumsum(counts_N)]).astype(np.int64)
        columns = {name: values[order_V] for name, values in columns.items()}
        return cls(start_N1=start_N1, columns=columns)

    def __len__(self) -> int:
        return len(self.start_N1) - 1

    @property
    def counts_N(self) -> np.ndarray:
        """int64 (N,): items of each patient."""
        return np.diff(self.start_N1)

    def items(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The items of some patients, in the order given.

        Returns:
            Position in ``rows`` of the owner of each item, and place of the item, int64 each.
        """
        counts = self.start_N1[rows + 1] - self.start_N1[rows]
        owner_V = np.repeat(np.arange(len(rows)), counts)
        first = np.cumsum(counts) - counts
        place_V = np.arange(len(owner_V)) - first[owner_V] + self.start_N1[rows][owner_V]
        return owner_V, place_V

    def select(self, rows: np.ndarray) -> "Ragged":
        """The items of some patients, in the order given."""
        owner_V, place_V = self.items(rows)
        columns = {name: values[place_V] for name, values in self.columns.items()}
        start_N1 = np.concatenate([[0], np.cumsum(np.bincount(owner_V, minlength=len(rows)))])
        return replace(self, start_N1=start_N1.astype(np.int64), columns=columns)
