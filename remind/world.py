"""The processes that train together."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import distributed as dist

_ALONE: list[bool] = []
"""An entry for every `alone` that has begun."""


def num_ranks() -> int:
    """How many they are; 1 without `torch.distributed`, and inside `alone`."""
    if _ALONE or not (dist.is_available() and dist.is_initialized()):
        return 1
    return dist.get_world_size()


@contextmanager
def alone() -> Iterator[None]:
    """One process works as if there were no others, which may do something else meanwhile."""
    _ALONE.append(True)
    try:
        yield
    finally:
        _ALONE.pop()
