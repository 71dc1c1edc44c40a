"""Seeds that fix everything inside and change nothing outside."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int, rank: int = 0) -> Iterator[None]:
    """torch's global generators start from a seed inside, and go on as before afterwards.

    Args:
        seed: of the run.
        rank: each rank draws other numbers.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed if not rank else _mixed(seed, rank))
        yield


def shuffled(rows: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """The rows in the order of an epoch: a pure function of rows, seed and epoch."""
    return np.random.default_rng([seed, epoch]).permutation(rows)


def _mixed(seed: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, rank]).generate_state(1, np.uint32)[0])
