"""Intervals of a share: how many of n patients, independent of each other, were hit."""

from scipy.stats import beta, norm


def wilson(hits: float, num: int, level: float = 0.95) -> list[float] | None:
    """Return the score interval ``[low, high]`` of a share (Wilson 1927); None if num is 0."""
    if num == 0:
        return None
    z2 = float(norm.ppf((1 + level) / 2)) ** 2
    share = hits / num
    middle = (share + z2 / (2 * num)) / (1 + z2 / num)
    half = (z2 / num * (share * (1 - share) + z2 / (4 * num))) ** 0.5 / (1 + z2 / num)
    return [max(middle - half, 0.0), min(middle + half, 1.0)]


def clopper_pearson(hits: int, num: int, level: float = 0.95) -> list[float] | None:
    """Return the exact interval ``[low, high]`` of a share; None if num is 0.

    It covers the true share at least `level` of the time (Clopper and Pearson 1934).
    """
    if num == 0:
        return None
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, num - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, num - hits)) if hits < num else 1.0
    return [low, high]
