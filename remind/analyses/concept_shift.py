"""Concept shift: do two groups need different fusion functions?

For groups a and b with common modalities c, the patients of both are masked to c. A small head
(weights on the frozen encoder's features of c) is fitted on each. The excess loss

    E[a, b] = loss of b's head on patients of a - loss of a's own head on patients of a

is measured on the same patients, so it is not that these differ (covariate shift); a's own head is
cross-fitted. Before a loss is taken, intercept and slope of the logits are refitted to the patients
at hand, for either head: other base rates are no other function, nor is it that what was masked
flattens all effects. What is left is how the head weighs modalities against each other.

Two heads fitted on few patients differ by chance. The chance is measured by permuting who belongs
to a and who to b, among patients of like propensity (to be of a, given the features of c), and its
mean is taken off: an excess of 0 is no difference. Heads are drawn (ridge) towards the head that
all patients share.

N patients of a pair, G groups, M modalities, P features, Q targets, R permutations (the first is no
permutation), K folds.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import squareform

from remind.analyses.association import false_discovery
from remind.analyses.heads import fit_heads, recalibrated_loss
from remind.analyses.token_features import Features

FOLDS = 5
PENALTY = 1.0
PER_STRATUM = 20
"""Patients of the smaller group in each stratum of propensity, at least."""
MAX_STRATA = 5


class PairShift(NamedTuple):
    """Two groups compared.

    Attributes:
        common_M: modalities that were compared, bool.
        excess_a: nats that b's head loses on patients of a, chance taken off.
        excess_b: the reverse.
        p: of their mean by permutation, one-sided, 1 added to both counts.
        chance: 95% quantile of the mean among permutations, its own mean taken off.
    """

    common_M: np.ndarray
    excess_a: float
    excess_b: float
    p: float
    chance: float

    @property
    def excess(self) -> float:
        """Mean of both directions."""
        return (self.excess_a + self.excess_b) / 2


@dataclass(frozen=True, kw_only=True, eq=False)
class ConceptShift:
    """All pairs of some groups.

    Args:
        pairs: (a, b), a < b, positions of groups -> their comparison; without those that have no
            modality in common.
        excess_GG: row: whose patients; column: whose head; NaN without common modality; diagonal 0.
        q: p-values of the pairs after Benjamini and Hochberg, in their order.
    """

    pairs: dict[tuple[int, int], PairShift]
    excess_GG: np.ndarray
    q: np.ndarray


def concept_shift(
    features: Features,
    label_N: np.ndarray,
    rows_of_groups: list[np.ndarray],
    *,
    common_M: np.ndarray | None = None,
    permutations: int = 199,
    seed: int = 0,
) -> ConceptShift:
    """Compare every pair of some groups.

    Args:
        features: of all patients.
        label_N: classes.
        rows_of_groups: patients of each group, a row of each person, for rows are permuted; all of
            one group have the same modalities.
        common_M: modalities that all pairs are compared in; what two groups share if None.
        permutations: of each pair, >= 1.
        seed: of folds and permutations.

    Raises:
        ValueError: a group lacks a modality of `common_M`.
    """
    patterns = [features.present_NM[rows].all(axis=0) for rows in rows_of_groups]
    if common_M is not None and any((common_M & ~pattern_M).any() for pattern_M in patterns):
        raise ValueError("common_M must be observed in every group that is compared")
    num = len(rows_of_groups)
    pairs, excess_GG = {}, np.full((num, num), np.nan)
    np.fill_diagonal(excess_GG, 0.0)
    for a in range(num):
        for b in range(a + 1, num):
            shared_M = np.asarray(patterns[a] & patterns[b] if common_M is None else common_M)
            if not shared_M.any():
                continue
            pair = compare_pair(
                features,
                label_N,
                rows_of_groups[a],
                rows_of_groups[b],
                shared_M,
                permutations=permutations,
                rng=np.random.default_rng([seed, a, b]),
            )
            pairs[a, b] = pair
            excess_GG[a, b], excess_GG[b, a] = pair.excess_a, pair.excess_b
    q = false_discovery(np.array([pair.p for pair in pairs.values()]))
    return ConceptShift(pairs=pairs, excess_GG=excess_GG, q=q)


def compare_pair(
    features: Features,
    label_N: np.ndarray,
    rows_a: np.ndarray,
    rows_b: np.ndarray,
    common_M: np.ndarray,
    *,
    permutations: int,
    rng: np.random.Generator,
) -> PairShift:
    """Compare the functions of two groups on common modalities; see the formulas of this module."""
    rows = np.concatenate([rows_a, rows_b])
    is_a_N = np.arange(len(rows)) < len(rows_a)
    designs = [
        _design(features, target, rows, common_M) for target in range(len(features.score_QNM))
    ]
    stratum_N = _strata(designs[0][0], is_a_N)
    is_a_RN = np.stack(
        [is_a_N, *(_permuted(is_a_N, stratum_N, rng) for _ in range(permutations))]
    ).astype(float)
    excess_2R = np.zeros((2, 1 + permutations))
    for target, (x_NP, prior_P) in enumerate(designs):
        y_N = _targets(label_N[rows], target, len(designs))
        fold_N = _folds(y_N, rng)
        excess_2R += _excess(x_NP, y_N, prior_P, is_a_RN, fold_N)
    mean_R = excess_2R.mean(axis=0)
    chance_2 = excess_2R[:, 1:].mean(axis=1)
    return PairShift(
        common_M=common_M,
        excess_a=float(excess_2R[0, 0] - chance_2[0]),
        excess_b=float(excess_2R[1, 0] - chance_2[1]),
        p=float((mean_R >= mean_R[0] - 1e-12).mean()),
        chance=float(np.quantile(mean_R[1:], 0.95) - mean_R[1:].mean()),
    )


def cluster(shift: ConceptShift) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Groups that share a function: average linkage of the mean excess of each pair.

    Groups are joined as long as the excess stays within what chance does (its 95% quantile, the
    mean over pairs). Pairs without common modality are as far apart as the furthest pair.

    Returns:
        the cluster of each group from 1 (G,), scipy's linkage (G - 1, 4), and the groups in the
        order of the dendrogram's leaves (G,).
    """
    num = len(shift.excess_GG)
    if num < 2:
        return np.ones(num, int), np.zeros((0, 4)), np.arange(num)
    distance_GG = np.maximum((shift.excess_GG + shift.excess_GG.T) / 2, 0.0)
    known = ~np.isnan(distance_GG)
    distance_GG = np.where(known, distance_GG, distance_GG[known].max())
    tree = linkage(squareform(distance_GG, checks=False), method="average")
    height = float(np.mean([pair.chance for pair in shift.pairs.values()])) if shift.pairs else 0.0
    return fcluster(tree, max(height, 0.0), criterion="distance"), tree, leaves_list(tree)


def _design(
    features: Features, target: int, rows: np.ndarray, common_M: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Features of unit variance with 1 in front (N, P), and the shared head on them (P,)."""
    score_NM = features.score_QNM[target][np.ix_(rows, np.flatnonzero(common_M))]
    component_NX = features.component_NMR[rows][:, common_M].reshape(len(rows), -1)
    x_NX = np.column_stack([score_NM, component_NX])
    spread_X = x_NX.std(axis=0)
    varies_X = spread_X > 1e-9
    x_NX = (x_NX - x_NX.mean(axis=0))[:, varies_X] / spread_X[varies_X]
    prior_X = np.concatenate([spread_X[: score_NM.shape[1]], np.zeros(component_NX.shape[1])])
    x_NP = np.column_stack([np.ones(len(rows)), x_NX])
    return x_NP, np.concatenate([[0.0], prior_X[varies_X]])


def _targets(label_N: np.ndarray, target: int, num_targets: int) -> np.ndarray:
    """1 where the label is the target's class: the second of two, or one of many."""
    return (label_N == (1 if num_targets == 1 else target)).astype(float)


def _strata(x_NP: np.ndarray, is_a_N: np.ndarray) -> np.ndarray:
    """Fifths (or less) of the propensity to be of a, given the features."""
    smaller = int(min(is_a_N.sum(), (~is_a_N).sum()))
    num = int(np.clip(smaller // PER_STRATUM, 1, MAX_STRATA))
    zero_P, ones_1N = np.zeros(x_NP.shape[1]), np.ones((1, len(x_NP)))
    beta_P = fit_heads(x_NP, is_a_N.astype(float), ones_1N, zero_P, PENALTY)[0]
    edges = np.quantile(x_NP @ beta_P, np.arange(1, num) / num)
    return np.searchsorted(edges, x_NP @ beta_P)


def _permuted(is_a_N: np.ndarray, stratum_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Membership permuted within the strata."""
    permuted_N = is_a_N.copy()
    for stratum in np.unique(stratum_N):
        some = np.flatnonzero(stratum_N == stratum)
        permuted_N[some] = is_a_N[rng.permutation(some)]
    return permuted_N


def _folds(y_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A fold of every patient, the same share of each class in all."""
    order_N = np.lexsort([rng.random(len(y_N)), y_N])
    fold_N = np.empty(len(y_N), dtype=int)
    fold_N[order_N] = np.arange(len(y_N)) % FOLDS
    return fold_N


def _excess(
    x_NP: np.ndarray,
    y_N: np.ndarray,
    prior_P: np.ndarray,
    is_a_RN: np.ndarray,
    fold_N: np.ndarray,
) -> np.ndarray:
    """Excess loss of the other group's head on patients of a, and of b: (2, R)."""
    members = (is_a_RN, 1 - is_a_RN)
    logits = [fit_heads(x_NP, y_N, of_RN, prior_P, PENALTY) @ x_NP.T for of_RN in members]
    excess = []
    for own, of_RN in enumerate(members):
        own_RN = _cross_fitted(x_NP, y_N, prior_P, of_RN, fold_N)
        other_R = recalibrated_loss(logits[1 - own], y_N, of_RN)
        excess.append(other_R - recalibrated_loss(own_RN, y_N, of_RN))
    return np.stack(excess)


def _cross_fitted(
    x_NP: np.ndarray, y_N: np.ndarray, prior_P: np.ndarray, of_RN: np.ndarray, fold_N: np.ndarray
) -> np.ndarray:
    """Logits of heads that did not see the patient's fold: (R, N)."""
    logit_RN = np.zeros_like(of_RN)
    for fold in range(FOLDS):
        is_held_N = fold_N == fold
        beta_RP = fit_heads(x_NP, y_N, of_RN * ~is_held_N, prior_P, PENALTY)
        logit_RN[:, is_held_N] = beta_RP @ x_NP[is_held_N].T
    return logit_RN
