"""Work that threads do side by side, each on a core of its own.

PyTorch shares out every operation, and its threads meet after each. Where operations are many and
small it is faster that a thread does some of the work from beginning to end. (PyTorch lets go of
the interpreter's lock inside an operation.)
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")

_pools: dict[int, ThreadPoolExecutor] = {}
os.register_at_fork(after_in_child=_pools.clear)  # threads do not outlive a fork


def side_by_side(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Do the work of all parts, as many at once as PyTorch has threads here; their order stays.

    Whoever is one of these threads has one, and does its parts itself. Work knows nothing of its
    caller's modes: gradients are on in it, autocast is off.
    """
    before = torch.get_num_threads()
    if min(before, len(parts)) <= 1:
        return [work(part) for part in parts]
    pool = _pools.get(before)
    if pool is None:
        pool = ThreadPoolExecutor(before, "remind", initializer=lambda: torch.set_num_threads(1))
        pool = _pools.setdefault(before, pool)
    torch.set_num_threads(1)  # before torch 2.10 or so MKL has one number for all threads
    futures = [pool.submit(work, part) for part in parts]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()
        wait(futures)
        torch.set_num_threads(before)
