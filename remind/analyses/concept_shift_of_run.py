"""Concept shift among the largest groups of a run's cohort."""

# N patients, G groups, M modalities

from typing import Any

import numpy as np

from remind.analyses.association import combined
from remind.analyses.concept_shift import ConceptShift, cluster, concept_shift
from remind.analyses.neural import encoded_rows, network_of
from remind.analyses.options import Options
from remind.analyses.persons import one_row_per_person
from remind.analyses.token_features import token_features
from remind.cohort import Cohort
from remind.encoders import TokenEncoder
from remind.errors import InputError
from remind.evaluation.bootstrap import interval
from remind.training import Run

MIN_PATIENTS = 40
MIN_CLASS = 8
"""Patients of the rarer class that a group needs for its head, of the commonest two."""
MAX_GROUPS = 10
MAX_PATIENTS = 250
"""Of each group, so that the largest do not decide how long it takes."""
PERMUTATIONS = 199
SIGNIFICANT = 0.05


def concept_shift_of_run(run: Run, cohort: Cohort, options: Options) -> dict[str, Any]:
    """Excess losses of the groups' heads for each other, on the run's frozen encoder.

    The groups are the ten largest with at least 40 patients; those of all splits count, for test
    patients alone are too few, and nothing is selected by the result. Of a person with several
    rows in these groups one is used, drawn at random, and a group that this leaves too small is
    not compared.

    Returns:
        JSON: ``split``, ``n`` (rows that are used, as in each group), ``groups`` (``group``, ``n``,
        ``cluster``, mean ``excess`` over its pairs with ``ci``), ``excess`` (row: whose patients,
        column: whose head; None without common modality), ``pairs`` (``a``, ``b``, ``common``,
        ``excess_a``, ``excess_b``, ``excess``, ``p``, ``q``), ``linkage`` and ``leaves`` of the
        dendrogram, and ``overall``: mean ``excess`` in nats with ``ci`` (bootstrap over groups),
        combined ``p``, and the number of ``pairs`` and of ``significant`` ones (q <= 0.05).

    Raises:
        InputError: the run has no token encoder, or fewer than two groups are large enough.
    """
    encoder = getattr(network_of(run, "token encoder"), "encoder", None)
    if not isinstance(encoder, TokenEncoder):
        raise InputError(f"the method {run.settings.method} has no tokens of single modalities")
    groups = run.encoding.groups
    group_N, label_N = groups.ids(cohort.present_NM), cohort.label_N
    assert label_N is not None
    large = [g for g in range(len(groups)) if _is_large(label_N[group_N == g])][:MAX_GROUPS]
    rng = np.random.default_rng(options.seed)
    used = one_row_per_person(cohort.person, np.flatnonzero(np.isin(group_N, large)), rng)
    chosen = [g for g in large if _is_large(label_N[used[group_N[used] == g]])]
    if len(chosen) < 2:
        raise InputError(
            f"fewer than two combinations have {MIN_PATIENTS} patients, {MIN_CLASS} of them of a "
            "second class, so no two functions can be compared"
        )
    encoded = encoded_rows(run, cohort, np.arange(len(cohort)))
    features = token_features(encoder, encoded, len(run.encoding.classes))
    rows = [rng.permutation(used[group_N[used] == g])[:MAX_PATIENTS] for g in chosen]
    shift = concept_shift(
        features, encoded.label_N, rows, permutations=PERMUTATIONS, seed=options.seed
    )
    if not shift.pairs:
        raise InputError("no two large combinations have a modality in common")
    return {
        "split": "all",
        "n": sum(map(len, rows)),
        "permutations": PERMUTATIONS,
        **_block(shift, groups.names(groups.patterns_GM[chosen]), list(map(len, rows)), options)
        | {"pairs": _pairs(shift, groups.names(groups.patterns_GM[chosen]), run)},
    }


def _is_large(label_X: np.ndarray) -> bool:
    if len(label_X) < MIN_PATIENTS:
        return False
    counts = np.sort(np.bincount(label_X))
    return len(counts) > 1 and counts[-2] >= MIN_CLASS


def _block(
    shift: ConceptShift, names: list[str], sizes: list[int], options: Options
) -> dict[str, Any]:
    cluster_G, tree, leaves = cluster(shift)
    mean_GG = (shift.excess_GG + shift.excess_GG.T) / 2
    num = len(mean_GG)
    rng = np.random.default_rng(options.seed)
    p = np.array([pair.p for pair in shift.pairs.values()])
    drawn_RG = rng.integers(num, size=(options.num_boot, num))
    overall_R = np.array([_mean_of_pairs(mean_GG, drawn_G) for drawn_G in drawn_RG])
    return {
        "overall": {
            "excess": _mean_of_pairs(mean_GG, np.arange(num)),
            "ci": interval(overall_R, options.level) if num > 4 else None,
            "p": combined(p),
            "pairs": len(p),
            "significant": int((shift.q <= SIGNIFICANT).sum()),
        },
        "groups": [
            {
                "group": names[g],
                "n": sizes[g],
                "cluster": int(cluster_G[g]),
                **_of_group(np.delete(mean_GG[g], g), rng, options),
            }
            for g in range(num)
        ],
        "excess": [[_number(value) for value in row] for row in shift.excess_GG],
        "linkage": tree.tolist(),
        "leaves": leaves.tolist(),
    }


def _mean_of_pairs(mean_GG: np.ndarray, drawn_G: np.ndarray) -> float:
    """Mean over pairs of different groups that were drawn; NaN if there are none."""
    value_GG = mean_GG[np.ix_(drawn_G, drawn_G)]
    used_GG = (drawn_G[:, None] != drawn_G) & ~np.isnan(value_GG)
    return float(value_GG[used_GG].mean()) if used_GG.any() else float("nan")


def _of_group(excess_G: np.ndarray, rng: np.random.Generator, options: Options) -> dict[str, Any]:
    excess_G = excess_G[~np.isnan(excess_G)]
    if not len(excess_G):
        return {"excess": None, "ci": None}
    drawn_R = rng.choice(excess_G, size=(options.num_boot, len(excess_G))).mean(axis=1)
    ci = interval(drawn_R, options.level) if len(excess_G) > 2 else None
    return {"excess": float(excess_G.mean()), "ci": ci}


def _pairs(shift: ConceptShift, names: list[str], run: Run) -> list[dict[str, Any]]:
    """Every pair, the largest excess first."""
    common = run.encoding.groups.names(
        np.array([pair.common_M for pair in shift.pairs.values()], dtype=bool)
    )
    listed = [
        {
            "a": names[a],
            "b": names[b],
            "common": common[i],
            "excess_a": pair.excess_a,
            "excess_b": pair.excess_b,
            "excess": pair.excess,
            "p": pair.p,
            "q": float(shift.q[i]),
        }
        for i, ((a, b), pair) in enumerate(shift.pairs.items())
    ]
    return sorted(listed, key=lambda pair: -pair["excess"])


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
