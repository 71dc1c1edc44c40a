"""Groups: which modalities a patient is observed in, and how common that combination is.

This is the only place where a row of presence becomes a group, a name, a count and a band. Rows are
compared as packed bytes, so any number of modalities works and nothing grows with 2^M.
"""

# N patients, M modalities, G groups (distinct training combinations), U distinct rows

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

BAND_NAMES = ("head", "medium", "tail", "unseen")


@dataclass(frozen=True, kw_only=True)
class Bands:
    """Bands by training count n.

    Head: n > `head`; medium: `medium` <= n <= `head`; tail: 1 <= n < `medium`; unseen: n = 0.

    Args:
        head: patients above which a combination is common.
        medium: patients from which on it is not in the tail.

    Raises:
        ValueError: not 1 <= medium <= head.
    """

    head: int = 100
    medium: int = 20

    def __post_init__(self) -> None:
        if not 1 <= self.medium <= self.head:
            raise ValueError(
                f"bands need 1 <= medium <= head, got medium={self.medium}, head={self.head}"
            )

    def of(self, n_train: np.ndarray) -> np.ndarray:
        """The band of each training count, as text."""
        n_train = np.asarray(n_train)
        conditions = [n_train > self.head, n_train >= self.medium, n_train >= 1]
        return np.select(conditions, BAND_NAMES[:3], default=BAND_NAMES[3])


@dataclass(frozen=True, kw_only=True, eq=False)
class Groups:
    """The training combinations of a cohort.

    Args:
        modalities: M names in the order of cohort.toml.
        patterns_GM: distinct training combinations, most frequent first, then by their bits.
        counts_G: training patients of each, int64, all >= 1.
        bands: thresholds on the counts.
    """

    modalities: tuple[str, ...]
    patterns_GM: np.ndarray
    counts_G: np.ndarray
    bands: Bands

    def __post_init__(self) -> None:
        keys_G = _keys(self.patterns_GM)
        order = np.argsort(keys_G, kind="stable")
        object.__setattr__(self, "_sorted_keys_G", keys_G[order])
        object.__setattr__(self, "_sorted_ids_G", order.astype(np.int64))

    @classmethod
    def fit(
        cls, present_NM: np.ndarray, modalities: Sequence[str], bands: Bands | None = None
    ) -> Self:
        """Groups of training patients, bool (N, M)."""
        patterns_UM, _, counts_U = _distinct(np.asarray(present_NM, dtype=bool))
        order = np.argsort(-counts_U, kind="stable")
        return cls(
            modalities=tuple(modalities),
            patterns_GM=patterns_UM[order],
            counts_G=counts_U[order],
            bands=bands or Bands(),
        )

    def __len__(self) -> int:
        return len(self.counts_G)

    def ids(self, present_NM: np.ndarray) -> np.ndarray:
        """int64 (N,): index into `patterns_GM`, -1 for a combination that training did not have."""
        keys_N = _keys(present_NM)
        sorted_keys_G: np.ndarray = self.__dict__["_sorted_keys_G"]
        at_N = np.minimum(np.searchsorted(sorted_keys_G, keys_N), len(self) - 1)
        return np.where(sorted_keys_G[at_N] == keys_N, self.__dict__["_sorted_ids_G"][at_N], -1)

    def n_train(self, present_NM: np.ndarray) -> np.ndarray:
        """int64 (N,): training patients with the same combination, 0 for an unseen one."""
        ids_N = self.ids(present_NM)
        return np.where(ids_N >= 0, self.counts_G[ids_N], 0)

    def band(self, present_NM: np.ndarray) -> np.ndarray:
        """Text (N,): head, medium, tail or unseen."""
        return self.bands.of(self.n_train(present_NM))

    def names(self, present_NM: np.ndarray) -> list[str]:
        """N names such as ``'vitals+labs'``; ``''`` where nothing is present."""
        patterns_UM, position_N, _ = _distinct(np.asarray(present_NM, dtype=bool))
        names_U = [
            "+".join(self.modalities[m] for m in np.flatnonzero(row_M)) for row_M in patterns_UM
        ]
        return [names_U[position] for position in position_N.tolist()]

    def to_dict(self) -> dict[str, Any]:
        """JSON: each pattern is the list of its modalities' indices."""
        return {
            "modalities": list(self.modalities),
            "patterns": [np.flatnonzero(row_M).tolist() for row_M in self.patterns_GM],
            "counts": self.counts_G.tolist(),
            "bands": {"head": self.bands.head, "medium": self.bands.medium},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The groups of `to_dict`."""
        patterns_GM = np.zeros((len(data["patterns"]), len(data["modalities"])), dtype=bool)
        for g, indices in enumerate(data["patterns"]):
            patterns_GM[g, indices] = True
        return cls(
            modalities=tuple(data["modalities"]),
            patterns_GM=patterns_GM,
            counts_G=np.array(data["counts"], dtype=np.int64),
            bands=Bands(**data["bands"]),
        )


def _keys(present_NM: np.ndarray) -> np.ndarray:
    """One byte string per row, all of one width: equal for equal rows, and sorted as the rows."""
    packed = np.packbits(np.asarray(present_NM, dtype=bool), axis=1)
    return np.ascontiguousarray(packed).view(f"S{packed.shape[1]}")[:, 0]


def _distinct(present_NM: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct rows (U, M) ordered by their bits, each row's position (N,), and counts (U,)."""
    _, first_U, position_N, counts_U = np.unique(
        _keys(present_NM), return_index=True, return_inverse=True, return_counts=True
    )
    return present_NM[first_U], position_N, counts_U.astype(np.int64)
