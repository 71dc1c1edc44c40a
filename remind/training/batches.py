"""From the order of an epoch to global batches, and from those to the parts of the ranks."""

# N patients in order, B patients of a batch

from typing import NamedTuple

import numpy as np
from torch import Tensor

from remind.cohort import Encoding
from remind.cohort.summary import SUMMARY


class Part(NamedTuple):
    """What one rank has of a global batch.

    A rank without a patient of its own gets the first of the batch as a stand-in, so that it takes
    part in whatever all ranks must do; it counts nothing.

    Attributes:
        rows: to load.
        start: place of the first of them in the batch.
        num_own: patients that count, 0 or all of `rows`.
        num_all: patients of the global batch.
        num_ranks: that share it.
    """

    rows: np.ndarray
    start: int
    num_own: int
    num_all: int
    num_ranks: int

    @property
    def weight(self) -> float:
        """Of a mean over own patients, such that the mean over ranks is that of the batch."""
        return self.num_own * self.num_ranks / self.num_all

    def of(self, all_B: Tensor) -> Tensor:
        """The part of something that was drawn for the global batch."""
        return all_B[self.start : self.start + len(self.rows)]


def cut(rows: np.ndarray, size: int, tokens_N: np.ndarray | None, budget: int) -> list[np.ndarray]:
    """Global batches of consecutive rows: by patients, or by tokens where there is a budget.

    Args:
        rows: of an epoch, in order.
        size: patients of a batch, >= 1; the last may have fewer. Of no meaning with a budget.
        tokens_N: tokens of each row, in the same order; needed for a budget.
        budget: most tokens of a batch; 0 is none. A patient with more is a batch alone.
    """
    if not budget:
        return [rows[start : start + size] for start in range(0, len(rows), size)]
    assert tokens_N is not None
    end_N, batches, start = tokens_N.cumsum(), [], 0
    while start < len(rows):
        before = end_N[start - 1] if start else 0
        stop = int(np.searchsorted(end_N, before + budget, side="right"))
        stop = max(stop, start + 1)
        batches.append(rows[start:stop])
        start = stop
    return batches


def tokens_of_patients(
    present_NM: np.ndarray, tokens_M: np.ndarray | None, budget: int
) -> np.ndarray | None:
    """(N,) tokens of each patient, for `cut`; None without a budget, where nobody asks.

    Args:
        present_NM: whether each modality is observed, bool.
        tokens_M: tokens of each modality where it is observed; one if None.
        budget: most tokens of a batch; 0 is none.
    """
    if not budget:
        return None
    one_M = np.ones(present_NM.shape[1], dtype=np.int64)
    return present_NM @ (one_M if tokens_M is None else tokens_M)


def own_slice(num_patients: int, rank: int, num_ranks: int) -> slice:
    """Consecutive patients for each rank, all dealt once; the numbers differ by one at most."""
    return slice(num_patients * rank // num_ranks, num_patients * (rank + 1) // num_ranks)


def deal(rows: np.ndarray, rank: int, num_ranks: int) -> Part:
    """The part of a rank of the rows of a global batch, which has a patient at least."""
    own = own_slice(len(rows), rank, num_ranks)
    num_own = own.stop - own.start
    if not num_own:
        own = slice(0, 1)
    return Part(rows[own], own.start, num_own, len(rows), num_ranks)


def tokens_of_modalities(encoding: Encoding) -> np.ndarray:
    """(M,) tokens that the encoders make of each modality where it is observed, int64."""
    tokens_M = np.ones(len(encoding.modalities), dtype=np.int64)
    for schema in encoding.schemas.values():
        for item in getattr(schema, "modalities", ()):  # a table has columns instead, and one token
            tokens_M[item.index] = getattr(item, "num_tokens", 1)
    if summary := encoding.schemas.get(SUMMARY):
        tokens_M[np.unique(summary.column_modality_C)] += 1
    return tokens_M
