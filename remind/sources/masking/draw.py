"""Who loses what: pure functions of presence, severity and hashes of the seed and the ids.

No result depends on the order of the patients, and nobody is left without a modality.
"""

# N patients, L listed modalities, K combinations

from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from remind.cohort.columns import text_hash
from remind.errors import InputError

LARGEST_LOGIT = 40.0
MOST_ROUNDS = 200
TOLERANCE = 1e-6
WORST_SHARE = 1e-3  # off the share that was asked for
MOST_LISTED = 12  # modalities whose combinations are all written down


def uniform(ids_N: np.ndarray, seed: int, stream: str) -> np.ndarray:
    """A number in [0, 1) per id, float64 (N,): another seed or stream, another number.

    Args:
        ids_N: text.
        seed: at least 0, below 2**32.
        stream: what the numbers are for.
    """
    texts_N = np.array([f"{name}\x1f{stream}" for name in ids_N], dtype=object)
    return (text_hash(texts_N, seed) >> np.uint64(11)) / float(1 << 53)


def draw_each(
    present_NL: np.ndarray,
    safe_N: np.ndarray,
    offset_N: np.ndarray,
    share_L: np.ndarray,
    *,
    ids_N: np.ndarray,
    names: tuple[str, ...],
    seed: int,
) -> np.ndarray:
    """Hide each modality on its own, with the log odds b_l + offset.

    Drawn one after the other, given that not all are hidden from a patient whom that would leave
    with nothing: P(hide l | all before it hidden) = p_l (1 - Q_l+1) / (1 - Q_l), where Q_l is the
    product of p from l on.

    Args:
        present_NL: observed, bool.
        safe_N: patients who are also observed in something that is not listed.
        offset_N: added to the log odds.
        share_L: of the patients observed in each, in [0, 1).
        ids_N: text.
        names: of the modalities.
        seed: of the draw.

    Returns:
        Hidden, bool (N, L), a part of `present_NL`.

    Raises:
        InputError: the shares cannot be reached, as everyone keeps a modality.
    """
    prob_NL = _probabilities(present_NL, safe_N, offset_N, share_L, names)
    chance_NL = np.where(present_NL, prob_NL, 1.0)
    after_NL1 = np.ones((len(present_NL), len(names) + 1))
    after_NL1[:, :-1] = chance_NL[:, ::-1].cumprod(axis=1)[:, ::-1]
    after_NL1[safe_N] = 0.0
    hidden_NL = np.zeros_like(present_NL)
    is_bare_N = ~safe_N  # nothing that the patient keeps so far
    for m, name in enumerate(names):
        left_N = np.maximum(1 - after_NL1[:, m], np.finfo(float).tiny)
        given_N = prob_NL[:, m] * (1 - after_NL1[:, m + 1]) / left_N
        chance_N = np.where(is_bare_N, given_N, prob_NL[:, m])
        hidden_NL[:, m] = present_NL[:, m] & (uniform(ids_N, seed, name) < chance_N)
        is_bare_N &= ~present_NL[:, m] | hidden_NL[:, m]
    return hidden_NL


def draw_combinations(
    present_NL: np.ndarray,
    kept_KL: np.ndarray,
    share_K: np.ndarray,
    *,
    ids_N: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Leave each patient with one of some combinations, to given shares.

    Patients observed in the same modalities are drawn together, evenly spaced over the shares
    (systematic sampling), so that counts differ from the shares by less than a patient. Who lacks a
    modality of a combination cannot get it: the shares of the others grow in proportion.

    Args:
        present_NL: observed, bool.
        kept_KL: combinations, bool, none empty.
        share_K: of the patients; what they lack of 1 keeps everything.
        ids_N: text.
        seed: of the draw.

    Returns:
        Hidden, bool (N, L), a part of `present_NL`.
    """
    hidden_NL = np.zeros_like(present_NL)
    rank_N = uniform(ids_N, seed, "combination")
    patterns, pattern_N = np.unique(present_NL, axis=0, return_inverse=True)
    for p, pattern_L in enumerate(patterns):
        rows = np.flatnonzero(pattern_N.ravel() == p)
        fits_K = ~(kept_KL & ~pattern_L).any(axis=1)
        kept = np.concatenate([kept_KL[fits_K], pattern_L[None]])
        share = np.append(share_K[fits_K], max(0.0, 1 - share_K.sum()))
        if share.sum() <= 0:
            continue
        rows = rows[np.argsort(rank_N[rows], kind="stable")]
        start = uniform(np.array(["".join(map(str, pattern_L.astype(int)))]), seed, "start")[0]
        place = (np.arange(len(rows)) + start) / len(rows)
        ends = np.cumsum(share) / share.sum()
        chosen = np.searchsorted(ends[:-1], place, side="right")
        hidden_NL[rows] = pattern_L & ~kept[chosen]
    return hidden_NL


def zipf_combinations(
    num_listed: int, exponent: float, num: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Combinations bool (K, L) in a drawn order, and their shares (K,), of rank ** -exponent.

    Raises:
        InputError: there are too many combinations to use all.
    """
    rng = np.random.default_rng([seed, *b"zipf"])
    if num_listed <= MOST_LISTED:
        bits_K = rng.permutation(2**num_listed - 1)[:num] + 1
        kept_KL = (bits_K[:, None] >> np.arange(num_listed)) & 1 == 1
    elif num is None:
        raise InputError(
            f"[zipf] over {num_listed} modalities has 2^{num_listed} - 1 combinations: "
            "set num, at most 4096"
        )
    else:
        drawn = rng.random((4 * num, num_listed)) < 0.5
        drawn = drawn[drawn.any(axis=1)]
        _, first = np.unique(drawn, axis=0, return_index=True)
        kept_KL = drawn[np.sort(first)[:num]]
    share_K = np.arange(1, len(kept_KL) + 1) ** -float(exponent)
    return kept_KL, share_K / share_K.sum()


def _probabilities(
    present_NL: np.ndarray,
    safe_N: np.ndarray,
    offset_N: np.ndarray,
    share_L: np.ndarray,
    names: tuple[str, ...],
) -> np.ndarray:
    """p (N, L) with which the shares hold, given that nobody is left with nothing.

    P(hide l | not all hidden) = p_l (1 - R_l) / (1 - p_l R_l), where R_l is the product of p over
    the patient's other modalities. One intercept after the other is solved until all shares hold.
    """
    # Patients alike in everything are one row with a weight.
    alike, row_N, weight_A = np.unique(
        np.column_stack([present_NL, safe_N, offset_N]),
        axis=0,
        return_inverse=True,
        return_counts=True,
    )
    present_AL, safe_A = alike[:, :-2].astype(bool), alike[:, -2].astype(bool)
    share_L = np.where(present_AL.any(axis=0), share_L, 0.0)
    offset_A = alike[:, -1]
    prob_AL = share_L * np.ones_like(present_AL, dtype=float)
    reached_L = np.zeros(len(share_L))
    for _ in range(MOST_ROUNDS):
        for m in np.flatnonzero(share_L > 0):
            others_AL = np.delete(np.where(present_AL, prob_AL, 1.0), m, axis=1)
            rest_A = np.where(safe_A, 0.0, others_AL.prod(axis=1))
            has_A = present_AL[:, m]
            prob_AL[:, m] = expit(
                _intercept(offset_A[has_A], rest_A[has_A], weight_A[has_A], share_L[m]) + offset_A
            )
        reached_L = _reached(present_AL, safe_A, prob_AL, weight_A)
        if np.abs(reached_L - share_L).max() < TOLERANCE:
            break
    worst = int(np.abs(reached_L - share_L).argmax())
    if abs(reached_L[worst] - share_L[worst]) > WORST_SHARE:
        is_alone = np.count_nonzero(share_L) == 1  # if not, what it reached depends on the order
        most = f", only from {reached_L[worst]:.0%}" if is_alone else " with those shares of others"
        raise InputError(
            f'"{names[worst]}" cannot be hidden from {share_L[worst]:.0%} of its patients{most}, '
            "for every patient keeps a modality: lower the shares"
        )
    return prob_AL[row_N.ravel()]


def _given(prob_A: np.ndarray, rest_A: np.ndarray) -> np.ndarray:
    """The probability given that not all is hidden."""
    left_A = np.maximum(1 - prob_A * rest_A, np.finfo(float).tiny)
    return prob_A * (1 - rest_A) / left_A


def _intercept(
    offset_A: np.ndarray, rest_A: np.ndarray, weight_A: np.ndarray, share: float
) -> float:
    """b with which the mean of `_given` is the share; the largest there is if none is enough."""

    def excess(b: float) -> float:
        return float(np.average(_given(expit(b + offset_A), rest_A), weights=weight_A) - share)

    bound = LARGEST_LOGIT + float(np.abs(offset_A).max(initial=0.0))
    if len(offset_A) == 0 or excess(bound) <= 0:
        return LARGEST_LOGIT
    if excess(-bound) >= 0:
        return -bound
    root: Any = brentq(excess, -bound, bound, xtol=1e-10)
    return float(root)


def _reached(
    present_AL: np.ndarray, safe_A: np.ndarray, prob_AL: np.ndarray, weight_A: np.ndarray
) -> np.ndarray:
    """The share of each modality (L,); 0 of one that nobody has."""
    chance_AL = np.where(present_AL, prob_AL, 1.0)
    shares = []
    for m in range(present_AL.shape[1]):
        has_A = present_AL[:, m]
        rest_A = np.where(safe_A, 0.0, np.delete(chance_AL, m, axis=1).prod(axis=1))
        given_A = _given(prob_AL[has_A, m], rest_A[has_A])
        weighted = (given_A * weight_A[has_A]).sum()
        shares.append(weighted / max(weight_A[has_A].sum(), 1))
    return np.array(shares)
