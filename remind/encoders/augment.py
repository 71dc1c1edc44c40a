"""Random changes of images and volumes that leave their meaning: in training only.

V items, C channels, A spatial axes (2 or 3).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST_TURN = 0.17  # radians, about 10 degrees
LARGEST_SHIFT = 0.1  # of half the image
LARGEST_ZOOM = 0.1
LARGEST_GAIN = 0.1
LARGEST_OFFSET = 0.1  # standard deviations


def augment(x_V: Tensor, *, flips: bool) -> Tensor:
    """Turn, shift, zoom, brighten and, if asked for, mirror each item in a way of its own.

    Args:
        x_V: (V, C, axes), standardised; what comes in from outside is the nearest border.
        flips: whether to mirror half of the items left to right.
    """
    num, dims = len(x_V), x_V.dim() - 2
    grid_V = F.affine_grid(_affine(num, dims, flips=flips, like=x_V), list(x_V.shape), False)
    moved_V = F.grid_sample(x_V, grid_V, padding_mode="border", align_corners=False)
    shape = (num, *[1] * (dims + 1))
    gain_V = 1 + LARGEST_GAIN * _uniform(x_V, *shape)
    return moved_V * gain_V + LARGEST_OFFSET * _uniform(x_V, *shape)


def _affine(num: int, dims: int, *, flips: bool, like: Tensor) -> Tensor:
    """Random maps (V, A, A + 1) from places of the output to places of the input.

    Coordinates are -1 to 1 along every axis, x first. A volume turns within its slices and tilts
    along them.
    """
    turn_VAA = torch.eye(dims, device=like.device, dtype=like.dtype).expand(num, dims, dims)
    for a in range(dims):
        for b in range(a):
            angle_V = LARGEST_TURN * _uniform(like, num)
            plane_VAA = torch.eye(dims, device=like.device, dtype=like.dtype).repeat(num, 1, 1)
            plane_VAA[:, a, a] = plane_VAA[:, b, b] = angle_V.cos()
            plane_VAA[:, a, b] = angle_V.sin()
            plane_VAA[:, b, a] = -angle_V.sin()
            turn_VAA = turn_VAA @ plane_VAA
    scale_VA = (1 + LARGEST_ZOOM * _uniform(like, num, 1)).expand(num, dims).clone()
    if flips:
        scale_VA[:, 0] *= torch.randint(0, 2, (num,), device=like.device) * 2 - 1
    shift_VA = LARGEST_SHIFT * _uniform(like, num, dims)
    return torch.cat([turn_VAA * scale_VA.unsqueeze(1), shift_VA.unsqueeze(2)], dim=2)


def _uniform(like: Tensor, *shape: int) -> Tensor:
    """Random numbers in [-1, 1], with the type and device of a tensor."""
    return 2 * torch.rand(shape, device=like.device, dtype=like.dtype) - 1
