"""Donors weighted to resemble rare patients: in combination, risk and number of modalities."""

# N rare patients, D donor rows, F scores, U combinations

from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

MAX_ODDS = 20.0
"""Odds of a donor are cut at this multiple of their mean, so that no single one decides."""


class Match(NamedTuple):
    """Weights of the donors.

    Attributes:
        base_D: in each combination donors count as much as the rare patients do.
        matched_D: the same times the odds of being rare.
        before, after: largest standardised mean difference of a score between rare patients and
            donors, by base and by matched weights; below 0.1 counts as balanced (Austin 2009).
    """

    base_D: np.ndarray
    matched_D: np.ndarray
    before: float
    after: float


def match(
    donor_DF: np.ndarray,
    donor_pattern_D: np.ndarray,
    rare_NF: np.ndarray,
    rare_pattern_N: np.ndarray,
) -> Match | None:
    """Weights of the treated, e / (1 - e), with e by logistic regression on scores and squares.

    Args:
        donor_DF, rare_NF: scores; N >= 1.
        donor_pattern_D, rare_pattern_N: combination of each, int64 from 0.

    Returns:
        None where no combination of the rare patients has a donor.
    """
    num = int(max(donor_pattern_D.max(initial=0), rare_pattern_N.max(initial=0))) + 1
    rare_U = np.bincount(rare_pattern_N, minlength=num)
    donors_U = np.bincount(donor_pattern_D, minlength=num)
    base_D = (rare_U / np.maximum(donors_U, 1))[donor_pattern_D]
    if not base_D.any():
        return None
    used = base_D > 0
    odds = _odds(donor_DF[used], base_D[used], rare_NF)
    matched_D = base_D.copy()
    matched_D[used] *= odds
    return Match(
        base_D=base_D,
        matched_D=matched_D,
        before=_difference(donor_DF, base_D, rare_NF),
        after=_difference(donor_DF, matched_D, rare_NF),
    )


def _odds(donor_DF: np.ndarray, weight_D: np.ndarray, rare_NF: np.ndarray) -> np.ndarray:
    scores = StandardScaler().fit_transform(np.concatenate([donor_DF, rare_NF]))
    is_rare = np.arange(len(scores)) >= len(donor_DF)
    weight = np.concatenate([weight_D / weight_D.mean(), np.ones(len(rare_NF))])
    weight[: len(donor_DF)] *= len(rare_NF) / len(donor_DF)
    model = LogisticRegression(max_iter=1000)
    model.fit(np.column_stack([scores, scores**2]), is_rare, sample_weight=weight)
    odds = np.exp(model.decision_function(np.column_stack([scores, scores**2]))[~is_rare])
    mean = (weight_D * odds).sum() / weight_D.sum()
    return np.minimum(odds, MAX_ODDS * mean)


def _difference(donor_DF: np.ndarray, weight_D: np.ndarray, rare_NF: np.ndarray) -> float:
    mean_F = np.average(donor_DF, axis=0, weights=weight_D)
    variance_F = np.average((donor_DF - mean_F) ** 2, axis=0, weights=weight_D)
    spread_F = np.sqrt((variance_F + rare_NF.var(axis=0)) / 2)
    gap_F = np.abs(rare_NF.mean(axis=0) - mean_F)
    return float(np.divide(gap_F, spread_F, out=np.zeros_like(gap_F), where=spread_F > 1e-9).max())
