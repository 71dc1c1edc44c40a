"""What ``torch.autocast`` does to the operands of a matmul, for operations unknown to it."""

import torch
from torch import Tensor


def cast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Cast as autocast casts the operands of a matmul: as they are where it is off.

    Args:
        tensors: of floats, at least one, on one device.
    """
    dtype = operand_dtype(tensors[0])
    return tensors if dtype is None else tuple(x.to(dtype) for x in tensors)


def operand_dtype(x: Tensor) -> torch.dtype | None:
    """Return the type of such an operand on the device of ``x``; None where autocast is off."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
