"""Means and standard deviations of training rows, by which a kind standardizes its values."""

# C channels or dimensions

import numpy as np

SMALLEST_STD = 1e-6  # less is the rounding of numbers that are all the same


def usable_std(std: np.ndarray | float) -> np.ndarray:
    """The standard deviations to divide by: 1 where all values are the same."""
    return np.where(np.asarray(std) > SMALLEST_STD, std, 1.0)


def moments_of_sums(
    sum_C: np.ndarray, square_C: np.ndarray, num: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean, and standard deviation to divide by, of each channel.

    Args:
        sum_C, square_C: sums of the values and of their squares, float64.
        num: values of a channel.
    """
    mean_C = sum_C / max(num, 1)
    std_C = np.sqrt(np.maximum(square_C / max(num, 1) - mean_C**2, 0.0))
    return tuple(mean_C.tolist()), tuple(usable_std(std_C).tolist())
