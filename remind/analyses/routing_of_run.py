"""The routing of a run: every mixture of experts, on the patients of a split."""

# N patients, G groups, E experts

from typing import Any

import numpy as np

from remind.analyses.association import mantel
from remind.analyses.neural import encoded_rows, loss_of, network_of
from remind.analyses.options import Options
from remind.analyses.persons import one_row_per_person
from remind.analyses.routing import (
    Routes,
    effective,
    group_gates,
    information,
    information_by_chance,
    jaccard,
    overlap,
    routes,
    specialisation,
)
from remind.cohort import BAND_NAMES, Cohort
from remind.errors import InputError
from remind.evaluation.bootstrap import interval, person_codes, resamples
from remind.training import Run

PERMUTATIONS = 199
MAX_GROUPS = 200
"""Groups that are compared with each other, the largest."""
MIN_PATIENTS = 5
"""Patients of a group whose routing is compared with that of others."""
IDLE = 0.1
"""An expert with less than this part of an even share is idle."""
CHUNK = 2048
DIGITS = 5


def routing(run: Run, cohort: Cohort, options: Options) -> dict[str, Any]:
    """Which groups use which experts, in every mixture of the run's network.

    Of a person with several rows in the split one is used, drawn at random.

    Returns:
        JSON: ``split``, ``n`` (rows that are used, as in each group) and ``mixtures``, each with

        - ``information``: I(group; expert) in ``nats`` with chance taken off and ``ci`` (bootstrap
          by person), ``raw``, ``chance``, ``p`` (permutation), and ``share`` of the entropy of
          expert use;
        - ``balance``: ``effective`` number of experts over all patients, ``of`` E, ``largest``
          share, number that are ``idle``;
        - ``specialisation``: mean ``effective`` number of experts of a patient, and of a group;
        - ``group_part``: mean total variation between the routing and what it would be without the
          group's part, in all and by band;
        - ``gate``: mean entropy gate in all and by band, None without one;
        - ``similarity``: Mantel's test of overlap in routing against Jaccard similarity;
        - ``groups``: ``group``, ``n_train``, ``n``, ``gates`` (mean weight of each expert) and
          ``specialisation`` in nats, most common first.

    Raises:
        InputError: the network has no mixture of experts.
    """
    model = network_of(run, "experts")
    rng = np.random.default_rng(options.seed)
    rows = one_row_per_person(cohort.person, cohort.rows(options.split), rng)
    encoded = encoded_rows(run, cohort, rows)
    starts = range(0, len(encoded), CHUNK)
    batches = (encoded.batch(np.arange(s, min(s + CHUNK, len(encoded)))) for s in starts)
    found = routes(model, loss_of(model), batches)
    if not found:
        raise InputError(f"the network of the method {run.settings.method} has no experts to route")
    present_NM = encoded.present_NM
    return {
        "split": options.split,
        "n": len(encoded),
        "mixtures": [_mixture(r, present_NM, cohort.person[rows], run, options) for r in found],
    }


def _mixture(
    routes: Routes, present_NM: np.ndarray, person_N: np.ndarray, run: Run, options: Options
) -> dict[str, Any]:
    groups = run.encoding.groups
    patterns_GM, group_N, n_G = np.unique(
        present_NM, axis=0, return_inverse=True, return_counts=True
    )
    group_N = group_N.ravel()
    band_N = groups.band(present_NM)
    gates_GE = group_gates(routes.gates_NE, group_N, len(n_G))
    overall_E = routes.gates_NE.mean(axis=0)
    n_train_G = groups.n_train(patterns_GM)
    compared = np.argsort(-n_G, kind="stable")[:MAX_GROUPS]
    compared = compared[n_G[compared] >= MIN_PATIENTS]
    num_experts = len(overall_E)
    names_G, kl_G = groups.names(patterns_GM), specialisation(gates_GE, n_G)
    return {
        "name": routes.name,
        "information": _information(routes, gates_GE, group_N, person_N, options),
        "balance": {
            "effective": float(effective(overall_E)),
            "of": num_experts,
            "largest": float(overall_E.max()),
            "idle": int((overall_E < IDLE / num_experts).sum()),
        },
        "specialisation": {
            "patient": float(effective(routes.gates_NE).mean()),
            "group": float(n_G @ effective(gates_GE) / n_G.sum()),
        },
        "group_part": _by_band(routes.shift_N, band_N),
        "gate": None if routes.alpha_N is None else _by_band(routes.alpha_N, band_N),
        "similarity": mantel(overlap(gates_GE[compared]), jaccard(patterns_GM[compared]), options),
        "groups": [
            {
                "group": names_G[g],
                "n_train": int(n_train_G[g]),
                "n": int(n_G[g]),
                "specialisation": round(float(kl_G[g]), DIGITS),
                "gates": [round(float(gate), DIGITS) for gate in gates_GE[g]],
            }
            for g in np.lexsort([-n_G, -n_train_G]).tolist()
        ],
    }


def _information(
    routes: Routes,
    gates_GE: np.ndarray,
    group_N: np.ndarray,
    person_N: np.ndarray,
    options: Options,
) -> dict[str, Any]:
    n_G = np.bincount(group_N)
    raw = information(gates_GE, n_G)
    rng = np.random.default_rng(options.seed)
    chance_R = information_by_chance(routes.gates_NE, group_N, PERMUTATIONS, rng)
    nats = raw - float(chance_R.mean())
    overall_E = routes.gates_NE.mean(axis=0)
    entropy = float(np.log(effective(overall_E)))
    return {
        "nats": nats,
        "ci": _interval(routes.gates_NE, group_N, person_N, nats, options),
        "raw": raw,
        "chance": float(chance_R.mean()),
        "p": float((1 + (chance_R >= raw - 1e-12).sum()) / (1 + PERMUTATIONS)),
        "share": nats / entropy if entropy > 1e-9 else None,
    }


def _interval(
    gates_NE: np.ndarray, group_N: np.ndarray, person_N: np.ndarray, nats: float, options: Options
) -> list[float] | None:
    """Bootstrap by person; resamples are biased upwards, so their mean is moved to the figure."""
    code_N, num_persons = person_codes(person_N)
    num_groups = int(group_N.max()) + 1
    value_R = []
    for weight_RN in resamples(code_N, num_persons, num_boot=options.num_boot, seed=options.seed):
        for weight_N in weight_RN:
            n_G = np.bincount(group_N, weights=weight_N, minlength=num_groups)
            sum_GE = np.stack(
                [
                    np.bincount(group_N, weights=weight_N * gate_N, minlength=num_groups)
                    for gate_N in gates_NE.T
                ],
                axis=1,
            )
            drawn_G = n_G > 0
            value_R.append(information(sum_GE[drawn_G] / n_G[drawn_G, None], n_G[drawn_G]))
    centered_R = np.array(value_R) - np.mean(value_R) + nats
    return interval(centered_R, options.level)


def _by_band(value_N: np.ndarray, band_N: np.ndarray) -> dict[str, float | None]:
    means = {"all": float(value_N.mean())}
    bands = {
        band: float(value_N[band_N == band].mean()) if (band_N == band).any() else None
        for band in BAND_NAMES
    }
    return means | bands
