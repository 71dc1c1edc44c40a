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


def step_generator(seed: int, epoch: int, step: int, stream: int = 0) -> torch.Generator:
    """What a step draws with: the same on every rank and after a resume.

    Args:
        seed: of the run.
        epoch: counted from 0.
        step: of the epoch, counted from 0.
        stream: another for everything that is drawn.
    """
    key = [seed, epoch, step, *([stream] if stream else [])]
    state = np.random.SeedSequence(key).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 ^ int(state[1]))


def _mixed(seed: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, rank]).generate_state(1, np.uint32)[0])
