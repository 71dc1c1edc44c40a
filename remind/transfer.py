"""Tensors inside dicts, tuples and dataclasses, and their way from the host to a device."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")
ALIGNED = 64
"""Bytes: kernels read whole vectors, and want them to begin at such places."""

LARGEST = 64 << 20
"""Bytes of a tensor that goes through page-locked memory, which the process does not give back."""


def map_tensors(function: Callable[[Any], Tensor], tree: T) -> T:
    """The same with every tensor or array inside changed by a function.

    Args:
        function: of a tensor, or of an array.
        tree: of dicts, tuples and dataclasses; anything else in it stays as it is.
    """
    found: Any = tree
    if isinstance(tree, Tensor | np.ndarray):
        found = function(tree)
    elif isinstance(tree, Mapping):
        found = {key: map_tensors(function, item) for key, item in tree.items()}
    elif isinstance(tree, tuple):
        items = [map_tensors(function, item) for item in tree]
        found = type(tree)(*items) if hasattr(tree, "_fields") else tuple(items)
    elif is_dataclass(tree) and not isinstance(tree, type):
        changed = {f.name: map_tensors(function, getattr(tree, f.name)) for f in fields(tree)}
        found = replace(tree, **changed)
    return found


def to_device(tree: T, device: torch.device | str) -> T:
    """The same with every tensor on a device.

    From the host to another device the smaller ones go as one copy out of page-locked memory,
    beside the work of the device: a copy of each would cost a launch, and out of other memory the
    device would be waited for. They then share one memory, which lives as long as any of them, and
    what is changed in place in one counts as a change of all for the backward pass.

    Args:
        tree: as in `map_tensors`; a tensor that is in it twice is copied once.
        device: where to.
    """
    device = torch.device(device)
    own: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        own[id(tensor)] = tensor
        return tensor

    map_tensors(note, tree)
    if all(tensor.device == device for tensor in own.values()):
        return tree
    small = {
        key: tensor
        for key, tensor in own.items()
        if tensor.device.type == "cpu" != device.type and tensor.nbytes <= LARGEST
    }
    moved = {key: tensor.to(device) for key, tensor in own.items() if key not in small}
    if small:
        tensors = list(small.values())
        memory = pack(tensors, pin=device.type == "cuda").to(device, non_blocking=True)
        moved |= zip(small, unpack(memory, tensors), strict=True)
    return map_tensors(lambda tensor: moved[id(tensor)], tree)


def pack(tensors: Sequence[Tensor], *, pin: bool = False) -> Tensor:
    """Tensors one after the other in one memory (bytes, uint8), page-locked if asked for."""
    ends = _ends(tensors)
    memory = torch.empty(ends[-1] if ends else 0, dtype=torch.uint8, pin_memory=pin)
    for place, tensor in zip(unpack(memory, tensors), tensors, strict=True):
        place.copy_(tensor)
    return memory


def unpack(memory: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The tensors in a memory that was packed of such ones, as views of it."""
    starts = [0, *_ends(like)]
    return [
        memory[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        for start, tensor in zip(starts, like, strict=False)
    ]


def _ends(tensors: Sequence[Tensor]) -> list[int]:
    return list(accumulate(-(-tensor.nbytes // ALIGNED) * ALIGNED for tensor in tensors))
