"""Resampling to a shape of its own, and the orientation of volumes."""

# O places of the output along an axis, I of the input

import itertools
from collections.abc import Sequence

import numpy as np


def resample(values: np.ndarray, shape: Sequence[int], steps: Sequence[float]) -> np.ndarray:
    """Sample the leading axes on a grid around the centre; float32.

    Linear interpolation, and an average over ``step`` inputs where that is more than one (the
    triangle filter of antialiased resizing). Outside of the input are zeros, so that a grid that
    reaches beyond it pads, and one that does not crops.

    Args:
        values: spatial axes first; others stay.
        shape: number of places along each spatial axis.
        steps: inputs from one place to the next, > 0.
    """
    out = values.astype(np.float32, copy=False)
    gain = [size / out.shape[axis] for axis, size in enumerate(shape)]
    for axis in np.argsort(gain):  # what shrinks most comes first: the least work
        weight_OI = _weights(out.shape[axis], shape[axis], steps[axis])
        with np.errstate(invalid="ignore"):  # OpenBLAS reads padding, which may be anything
            sampled = np.tensordot(weight_OI, out, axes=(1, axis))
        out = np.moveaxis(sampled, 0, axis)
    return np.ascontiguousarray(out)


def stretched(old: Sequence[int], new: Sequence[int]) -> list[float]:
    """The steps that make all of the input fill the output."""
    return [before / after for before, after in zip(old, new, strict=True)]


def canonical(
    values: np.ndarray, axes_33: np.ndarray
) -> tuple[np.ndarray, tuple[float, float, float]]:
    """A volume (D, H, W) whose indices grow towards superior, anterior and right.

    Args:
        values: three spatial axes.
        axes_33: column a is the step along axis a of ``values``, in mm towards right, anterior and
            superior (RAS+, NIfTI 1.1, section "orientation").

    Returns:
        The volume turned by multiples of 90 degrees, and its spacing in mm.
    """
    length_mm = np.linalg.norm(axes_33, axis=0)
    cosine_33 = np.abs(axes_33 / np.where(length_mm > 0, length_mm, 1))
    along = max(  # the axis of the input that is nearest to each of R, A, S
        itertools.permutations(range(3)), key=lambda order: cosine_33[range(3), list(order)].sum()
    )
    order = list(along)[::-1]
    turned = np.transpose(values, order)
    for position, axis in enumerate(order):
        if axes_33[2 - position, axis] < 0:
            turned = np.flip(turned, position)
    depth, height, width = length_mm[order].tolist()
    return turned, (depth, height, width)


def _weights(num_in: int, num_out: int, step: float) -> np.ndarray:
    """float32 (O, I): a row is the triangle around a place of the output, or zeros outside."""
    centre_O = (np.arange(num_out) + 0.5 - num_out / 2) * step + num_in / 2 - 0.5
    distance_OI = np.abs(np.arange(num_in) - centre_O[:, None]) / max(step, 1.0)
    weight_OI = np.clip(1.0 - distance_OI, 0.0, None)
    is_inside_O = (centre_O > -0.5) & (centre_O < num_in - 0.5)
    total_O = np.where(is_inside_O, weight_OI.sum(axis=1), np.inf)
    return (weight_OI / total_O[:, None]).astype(np.float32)
