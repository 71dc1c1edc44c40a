"""The long tail: how unequal combinations are, and how many patients will bring a new one.

The share of new patients whose combination the N training patients do not have is the missing mass
M of the training sample. Good and Turing: with f_k combinations held by exactly k patients,

    M ~ f_1 / N,    var(f_1 / N - M) ~ (f_1 (1 - f_1 / N) + 2 f_2) / N^2    (Esty 1983).

The interval is the score form of Esty's normal law: all M for which f_1 is no surprise, with N M in
the place of the f_1 in the variance, as Wilson's interval does for a share. So it is not empty at
f_1 = 0, where its upper end is about z^2 / N.

With several rows per person the unit is the person, for new patients are new persons: f_1 counts
the rows whose combination no other person has, which is the leave-one-person-out estimate. A
combination that one person holds in r rows adds r^2 instead of 1 to the variance, and one that two
persons hold in r and s rows adds 2 r s instead of 2.
"""

# N rows, G combinations, U pairs of combination and person

from typing import Any

import numpy as np
from scipy.stats import norm

from remind.analyses.options import Options
from remind.cohort import BAND_NAMES, Cohort, Groups
from remind.cohort import long_tail as inequality
from remind.evaluation.proportions import share_interval, wilson
from remind.training import Run


def long_tail(run: Run, cohort: Cohort, options: Options) -> dict[str, Any]:
    """The training combinations, and what share of patients will be unseen.

    Args:
        run: whose training groups and bands count.
        cohort: that it was fitted on.
        options: split and level.

    Returns:
        JSON: ``num_groups``, ``n``, ``gini``, ``effective_groups``, ``inverse_simpson`` (facts of
        the training set, so without intervals); ``rank_size``, a list of ``n`` with the ranks
        ``first`` to ``last`` of the groups of that size; ``bands`` with ``groups``, training
        ``n`` and ``share``, and the split's ``observed`` share with ``ci`` (Wilson's, or bootstrap
        by person where one has several rows); ``unseen`` with the ``expected`` share, its ``ci``,
        and what the split had: ``observed``, ``observed_ci``, None for train, which is what was
        seen.
    """
    groups = run.encoding.groups
    train, rows = cohort.rows("train"), cohort.rows(options.split)
    band_N = groups.band(cohort.present_NM[rows])
    share, ci = missing_mass(
        groups.ids(cohort.present_NM[train]), cohort.person[train], level=options.level
    )
    bands = _bands(groups, band_N, cohort.person[rows], options)
    unseen = {"observed": None, "ci": None} if options.split == "train" else bands["unseen"]
    return {
        "n": int(groups.counts_G.sum()),
        "num_groups": len(groups),
        **inequality(groups.counts_G),
        "rank_size": rank_size(groups.counts_G),
        "limits": {"head": groups.bands.head, "medium": groups.bands.medium},
        "bands": bands,
        "unseen": {
            "estimator": "Good-Turing, leaving one person out",
            "expected": share,
            "ci": ci,
            "split": options.split,
            "n": len(rows),
            "observed": unseen["observed"],
            "observed_ci": unseen["ci"],
        },
    }


def missing_mass(
    group_N: np.ndarray, person_N: np.ndarray, *, level: float = 0.95
) -> tuple[float, list[float]]:
    """Return the expected share of new persons' rows in combinations not in the sample.

    Args:
        group_N: combination of each row of the sample, at least one row.
        person_N: whose row it is.
        level: of the interval.

    Returns:
        f_1 / N and ``[low, high]``; see the formulas of this module.
    """
    num = len(group_N)
    _, group_N = np.unique(group_N, return_inverse=True)
    persons, person_N = np.unique(person_N, return_inverse=True)
    pair_U, rows_U = np.unique(group_N * len(persons) + person_N, return_counts=True)
    group_U = pair_U // len(persons)
    holders_U = np.bincount(group_U)[group_U]
    single_U, double_U = rows_U[holders_U == 1], rows_U[holders_U == 2]
    share = float(single_U.sum()) / num
    spread = float((single_U**2).sum() / single_U.sum()) if len(single_U) else 1.0
    pairs = float(2 * (double_U[0::2] * double_U[1::2]).sum())
    return share, _score_interval(share, num, spread, pairs, level)


def rank_size(counts_G: np.ndarray) -> list[dict[str, int]]:
    """The rank-size curve: sizes from large to small, with the ranks of the groups of each."""
    size_U, num_U = np.unique(counts_G, return_counts=True)
    last_U = num_U[::-1].cumsum()
    return [
        {"n": size, "first": last - num + 1, "last": last}
        for size, num, last in zip(
            size_U[::-1].tolist(), num_U[::-1].tolist(), last_U.tolist(), strict=True
        )
    ]


def _score_interval(
    share: float, num: int, spread: float, pairs: float, level: float
) -> list[float]:
    """Solve (share - M)^2 = z^2 (spread M (1 - M) / N + pairs / N^2) for M."""
    z2 = float(norm.ppf((1 + level) / 2)) ** 2
    slope = z2 * spread / num
    middle = (share + slope / 2) / (1 + slope)
    constant = (share**2 - z2 * pairs / num**2) / (1 + slope)
    half = max(middle**2 - constant, 0.0) ** 0.5
    return [max(middle - half, 0.0), min(middle + half, 1.0)]


def _bands(
    groups: Groups, band_N: np.ndarray, person_N: np.ndarray, options: Options
) -> dict[str, dict[str, Any]]:
    band_G = groups.bands.of(groups.counts_G)
    total, num = int(groups.counts_G.sum()), len(band_N)
    result = {}
    for name in BAND_NAMES:
        n = int(groups.counts_G[band_G == name].sum())
        is_in_N = band_N == name
        result[name] = {
            "groups": int((band_G == name).sum()),
            "n": n,
            "share": n / total,
            "observed": float(is_in_N.mean()) if num else None,
            "ci": share_interval(
                is_in_N,
                person_N,
                wilson,
                num_boot=options.num_boot,
                seed=options.seed,
                level=options.level,
            ),
        }
    return result
