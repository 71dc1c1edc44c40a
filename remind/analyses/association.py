"""How two quantities of groups go together: rank correlation, Mantel's test, false discoveries."""

# N groups, R resamples or permutations

from typing import Any

import numpy as np
from scipy.stats import rankdata, spearmanr

from remind.analyses.options import Options
from remind.evaluation.bootstrap import interval

MIN_GROUPS = 5
"""Groups from which on a rank correlation is reported."""
PERMUTATIONS = 999


def rank_correlation(x_N: np.ndarray, y_N: np.ndarray, options: Options) -> dict[str, Any]:
    """Spearman's rho with its two-sided p-value and a percentile interval by bootstrap over groups.

    Pairs with a NaN are left out. With fewer than 5 groups, or where one side does not vary, all
    figures are None.

    Returns:
        JSON: ``rho``, ``ci``, ``p``, ``n`` (groups that count).
    """
    defined_N = ~(np.isnan(x_N) | np.isnan(y_N))
    x_N, y_N = x_N[defined_N], y_N[defined_N]
    num = len(x_N)
    if num < MIN_GROUPS or len(np.unique(x_N)) < 2 or len(np.unique(y_N)) < 2:
        return {"rho": None, "ci": None, "p": None, "n": num}
    test: Any = spearmanr(x_N, y_N)
    rng = np.random.default_rng(options.seed)
    drawn_RN = rng.integers(num, size=(options.num_boot, num))
    rho_R = _correlation(rankdata(x_N[drawn_RN], axis=1), rankdata(y_N[drawn_RN], axis=1))
    return {
        "rho": float(test.statistic),
        "ci": interval(rho_R, options.level),
        "p": float(test.pvalue),
        "n": num,
    }


def mantel(
    x_NN: np.ndarray, y_NN: np.ndarray, options: Options, *, permutations: int = PERMUTATIONS
) -> dict[str, Any]:
    """Mantel's test: Spearman's rho of two similarities over pairs of groups, by permuting groups.

    Returns:
        JSON: ``rho``, one-sided ``p`` (1 added to both counts), ``n`` groups; None where there are
        fewer than 5 groups or one similarity does not vary.
    """
    num = len(x_NN)
    first_P, second_P = np.triu_indices(num, 1)
    x_P, y_P = x_NN[first_P, second_P], y_NN[first_P, second_P]
    if num < MIN_GROUPS or len(np.unique(x_P)) < 2 or len(np.unique(y_P)) < 2:
        return {"rho": None, "p": None, "n": num}
    ranks_NN = np.zeros((num, num))
    ranks_NN[first_P, second_P] = ranks_NN[second_P, first_P] = rankdata(x_P)
    y_P = rankdata(y_P)
    rng = np.random.default_rng(options.seed)
    rho = float(_correlation(ranks_NN[first_P, second_P], y_P))
    hits = 0
    for _ in range(permutations):
        order_N = rng.permutation(num)
        hits += bool(_correlation(ranks_NN[order_N[first_P], order_N[second_P]], y_P) >= rho)
    return {"rho": rho, "p": (1 + hits) / (1 + permutations), "n": num}


def false_discovery(p_N: np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg: p-values such that rejecting those below q has a false share of q."""
    order_N = np.argsort(p_N)
    raised_N = p_N[order_N] * len(p_N) / np.arange(1, len(p_N) + 1)
    adjusted_N = np.empty(len(p_N))
    adjusted_N[order_N] = np.minimum(np.minimum.accumulate(raised_N[::-1])[::-1], 1.0)
    return adjusted_N


def combined(p_N: np.ndarray) -> float:
    """One p-value of many dependent ones: the Cauchy combination (Liu & Xie 2020)."""
    statistic = np.tan((0.5 - np.clip(p_N, 1e-12, 1 - 1e-3)) * np.pi).mean()
    return float(0.5 - np.arctan(statistic) / np.pi)


def _correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's correlation along the last axis, NaN where a side does not vary."""
    x = x - x.mean(axis=-1, keepdims=True)
    y = y - y.mean(axis=-1, keepdims=True)
    above = (x * y).sum(axis=-1)
    below = np.sqrt((x**2).sum(axis=-1) * (y**2).sum(axis=-1))
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
