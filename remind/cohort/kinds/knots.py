"""Places between knots: the arithmetic of piecewise-linear encoding."""

# N values

import numpy as np


def knots_of(values: np.ndarray, max_bins: int) -> np.ndarray:
    """Distinct quantiles with at most `max_bins` intervals; all values if there are so few."""
    distinct = np.unique(values)
    if len(distinct) <= max_bins + 1:
        return distinct
    return np.unique(np.quantile(values, np.linspace(0.0, 1.0, max_bins + 1)))


def interpolate(values_N: np.ndarray, knots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left knot (N,) and fraction (N,) of the way to the next, for values that are not NaN."""
    if len(knots) == 1:
        return np.zeros(len(values_N), np.int64), np.zeros(len(values_N))
    left_N = np.clip(np.searchsorted(knots, values_N, side="right") - 1, 0, len(knots) - 2)
    frac_N = (values_N - knots[left_N]) / (knots[left_N + 1] - knots[left_N])
    return left_N, np.clip(frac_N, 0.0, 1.0)
