"""Batches that are ready when the model is: made ahead, by processes beside it if asked for."""

# B patients of a batch

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from remind.cohort import Batch, Encoded


class Loader:
    """The batches of some rows, in order.

    Workers are forked, so they share the arrays of the cohort and copy nothing but batches.

    Args:
        encoded: of the patients.
        workers: processes that make batches ahead; 0 makes each when it is asked for.

    Attributes:
        waited: seconds that were spent waiting for batches so far.
    """

    def __init__(self, encoded: Encoded, workers: int) -> None:
        self.encoded = encoded
        self.workers = workers
        self.waited = 0.0

    def __call__(self, rows_of_batches: Sequence[np.ndarray]) -> Iterator[Batch]:
        """The batch of each array of rows."""
        start = time.perf_counter()
        source = self._source(rows_of_batches)
        while (batch := next(source, None)) is not None:
            self.waited += time.perf_counter() - start
            yield replace(batch, groups=self.encoded.groups)
            start = time.perf_counter()
        self.waited += time.perf_counter() - start

    def _source(self, rows_of_batches: Sequence[np.ndarray]) -> Iterator[Batch]:
        if not self.workers:
            return (self.encoded.batch(rows) for rows in rows_of_batches)
        loader = DataLoader(
            _Batches(self.encoded, rows_of_batches),
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=4,
            multiprocessing_context="fork",
            generator=torch.Generator(),  # not the global one, which the model draws from
        )
        with warnings.catch_warnings():  # Python warns of forking threads; workers use none
            warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork.*")
            return iter(loader)


class _Batches(Dataset[Batch]):
    """The batches of an epoch, without what the workers need not send."""

    def __init__(self, encoded: Encoded, rows_of_batches: Sequence[np.ndarray]) -> None:
        self.encoded = encoded
        self.rows_of_batches = rows_of_batches

    def __len__(self) -> int:
        return len(self.rows_of_batches)

    def __getitem__(self, index: int) -> Batch:
        return replace(self.encoded.batch(self.rows_of_batches[index]), groups=None)
