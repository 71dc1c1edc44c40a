"""Memory that is handed back and used again, without the page faults of fresh arrays.

On CPU the first touch of a page of a new array is a fault; 100 MB took 60 ms where writing them
again took 8 ms (2 GHz EPYC). PyTorch has no caching allocator there; on CUDA it has one.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

KEPT = 8  # idle arrays that are kept
SMALLEST = 2**18  # bytes; less is quick to get

_idle: list[Tensor] = []


class Lease:
    """Uninitialised values that go back when the lease is gone.

    Whoever keeps ``values`` must keep the lease.

    Args:
        flat: memory, one axis of bytes.
        shape: of the values.
        dtype: of the values.
    """

    def __init__(self, flat: Tensor, shape: Sequence[int], dtype: torch.dtype) -> None:
        self._flat = flat
        num_bytes = math.prod(shape) * dtype.itemsize
        self.values = flat[:num_bytes].view(dtype).view(shape)

    def __del__(self) -> None:
        if len(_idle) < KEPT and self._flat.numel() >= SMALLEST:
            _idle.append(self._flat)


def lease(shape: Sequence[int], *, like: Tensor) -> Lease:
    """Return values of a shape, with the type and device of a tensor."""
    num_bytes = math.prod(shape) * like.dtype.itemsize
    flat = _take(num_bytes) if like.device.type == "cpu" else None
    if flat is None:
        flat = torch.empty(num_bytes, dtype=torch.uint8, device=like.device)
    return Lease(flat, shape, like.dtype)


def _take(num_bytes: int) -> Tensor | None:
    """Take the smallest idle array that is large enough, but not four times as large."""
    fits = [x for x in _idle if num_bytes <= x.numel() <= 4 * num_bytes]
    if not fits:
        return None
    best = min(fits, key=len)
    for place, idle in enumerate(_idle):
        if idle is best:
            return _idle.pop(place)
    return None
