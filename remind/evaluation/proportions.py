"""Intervals of a share: how many of n patients were hit."""

# N rows, R resamples, P persons

from collections.abc import Callable

import numpy as np
from scipy.stats import beta, norm

from remind.evaluation.bootstrap import MIN_PERSONS, NUM_BOOT, interval, person_codes, resamples

Exact = Callable[[int, int, float], list[float] | None]


def share_interval(
    hit_N: np.ndarray,
    person_N: np.ndarray,
    exact: Exact,
    *,
    num_boot: int = NUM_BOOT,
    seed: int = 0,
    level: float = 0.95,
) -> list[float] | None:
    """Return the interval ``[low, high]`` of the share of rows that were hit; None without rows.

    Where every person has one row it is `exact`, which takes rows as independent. Else it is
    bootstrap by person, as `bootstrap` says; and where all rows are alike, so that all resamples
    are, `exact` of as many patients as there are persons.

    Args:
        hit_N: bool.
        person_N: whose row it is; compared as text.
        exact: `wilson` or `clopper_pearson`.
        num_boot: resamples of persons.
        seed: of the resamples.
        level: of the interval.
    """
    code_N, num_persons = person_codes(person_N)
    hits, num = int(hit_N.sum()), len(hit_N)
    if num_persons == num:
        return exact(hits, num, level)
    if hits in (0, num):
        return exact(min(hits, num_persons), num_persons, level)
    if num_persons < MIN_PERSONS:
        return None
    hits_P, rows_P = np.bincount(code_N, weights=hit_N), np.bincount(code_N)
    draws = resamples(np.arange(num_persons), num_persons, num_boot=num_boot, seed=seed)
    value_R = np.concatenate([(draw_RP @ hits_P) / (draw_RP @ rows_P) for draw_RP in draws])
    return interval(value_R, level)


def wilson(hits: float, num: int, level: float = 0.95) -> list[float] | None:
    """Return the score interval ``[low, high]`` of a share (Wilson 1927); None if num is 0.

    The patients are taken as independent of each other.
    """
    if num == 0:
        return None
    z2 = float(norm.ppf((1 + level) / 2)) ** 2
    share = hits / num
    middle = (share + z2 / (2 * num)) / (1 + z2 / num)
    half = (z2 / num * (share * (1 - share) + z2 / (4 * num))) ** 0.5 / (1 + z2 / num)
    return [max(middle - half, 0.0), min(middle + half, 1.0)]


def clopper_pearson(hits: int, num: int, level: float = 0.95) -> list[float] | None:
    """Return the exact interval ``[low, high]`` of a share; None if num is 0.

    It covers the true share at least `level` of the time (Clopper and Pearson 1934), the patients
    being independent of each other.
    """
    if num == 0:
        return None
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, num - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, num - hits)) if hits < num else 1.0
    return [low, high]
