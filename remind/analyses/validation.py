"""Expected gains against realised ones, on patients that the model of gains has not seen.

A single realised gain is mostly luck of the outcome, so its correlation with any expectation is
low. ``ceiling`` says how low: it is that of somebody who saw the result of the measurement and
believed the run. ``groups`` compares means over patients left with the same combination, where luck
averages out.
"""

# N pairs of patient and modality, P persons, R resamples, G cells of combination and modality

from typing import Any

import numpy as np
from scipy import sparse
from scipy.stats import rankdata

from remind.analyses.figures import Mean, figures
from remind.analyses.gains import GainModel, Pairs
from remind.analyses.options import Options
from remind.evaluation.bootstrap import MIN_PERSONS, interval, resamples

NUM_BINS = 10
MIN_CELL = 20
"""Patients of a combination and modality from which on their mean is compared."""
MIN_CELLS = 5  # correlation of fewer means is noise


def validate_gains(
    model: GainModel, pairs: Pairs, modalities: tuple[str, ...], options: Options
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Compare expected with realised gains.

    Args:
        model: fitted on other patients.
        pairs: of the patients to compare on.
        modalities: M names.
        options: bootstrap, level and seed.

    Returns:
        The validation as JSON: ``n`` pairs, ``patients``; ``pearson``, ``spearman`` (ranks of the
        whole sample), ``slope`` of realised on expected through the origin (1 is right),
        ``ceiling`` (Pearson of the realised gain with the KL that the measurement made),
        ``information`` (Pearson of the expected gain with that KL), ``groups``; ``bins``
        by tenths of the expectation; ``choice``, the realised gain of the modality with the highest
        expectation of each patient against that of their average one. And per modality what was
        expected and realised. Every figure has ``value`` and ``ci``, bootstrap by person.
    """
    expected_N = model.predict(pairs)
    known = ~np.isnan(expected_N)
    expected_N, gain_N = expected_N[known], pairs.gain_N[known]
    person_N, modality_N = pairs.person_N[known], pairs.modality_N[known]
    divergence_N = pairs.divergence_N[known]
    rank = rankdata(expected_N), rankdata(gain_N)
    moments = {
        "pearson": (_correlation, expected_N, gain_N),
        "spearman": (_correlation, *rank),
        "slope": (_slope, expected_N, gain_N),
        "ceiling": (_correlation, divergence_N, gain_N),
        "information": (_correlation, expected_N, divergence_N),
    }
    num = pairs.num_persons
    by_modality = _means_by(modality_N, person_N, expected_N, gain_N, num, options)
    validation = {
        "n": len(gain_N),
        "patients": len(np.unique(pairs.row_N[known])),
        **{
            name: _moment(function, x_N, y_N, person_N, num, options)
            for name, (function, x_N, y_N) in moments.items()
        },
        "groups": _cells(
            pairs.left_NM[known], modality_N, person_N, expected_N, gain_N, num, options
        ),
        "bins": list(
            _means_by(_tenths(expected_N), person_N, expected_N, gain_N, num, options).values()
        ),
        "choice": _choice(pairs.row_N[known], person_N, expected_N, gain_N, num, options),
    }
    return validation, {modalities[m]: block for m, block in by_modality.items()}


def _moment(
    function: Any,
    x_N: np.ndarray,
    y_N: np.ndarray,
    person_N: np.ndarray,
    num_persons: int,
    options: Options,
) -> dict[str, Any]:
    """A function of the moments of x and y, and its interval."""
    powers = (np.ones(len(x_N)), x_N, y_N, x_N**2, y_N**2, x_N * y_N)
    sum_P6 = np.column_stack(
        [np.bincount(person_N, weights=power_N, minlength=num_persons) for power_N in powers]
    )
    value_R = np.concatenate(
        [function(draw_RP @ sum_P6) for draw_RP in _draws(num_persons, options)]
    )
    return _figure(
        float(function(sum_P6.sum(axis=0, keepdims=True))[0]), value_R, person_N, options
    )


def _correlation(sum_R6: np.ndarray) -> np.ndarray:
    mean_R5 = sum_R6[:, 1:] / np.maximum(sum_R6[:, :1], np.finfo(float).tiny)
    x_R, y_R, xx_R, yy_R, xy_R = mean_R5.T
    return _ratio(xy_R - x_R * y_R, np.sqrt(np.maximum((xx_R - x_R**2) * (yy_R - y_R**2), 0.0)))


def _slope(sum_R6: np.ndarray) -> np.ndarray:
    return _ratio(sum_R6[:, 5], sum_R6[:, 3])


def _means_by(
    key_N: np.ndarray,
    person_N: np.ndarray,
    expected_N: np.ndarray,
    gain_N: np.ndarray,
    num_persons: int,
    options: Options,
) -> dict[int, dict[str, Any]]:
    """Mean expected and realised gain of the pairs of each key."""
    keys = np.unique(key_N).tolist()
    means = {key: Mean(person_N, gain_N, (key_N == key).astype(np.float64)) for key in keys}
    realised = figures(means, {key: {key: 1.0} for key in keys}, num_persons, options)
    return {
        key: {
            "n": int((key_N == key).sum()),
            "expected": float(expected_N[key_N == key].mean()),
            "realised": realised[key],
        }
        for key in keys
    }


def _tenths(expected_N: np.ndarray) -> np.ndarray:
    """The tenth of each expectation, equal ones together."""
    inner = np.unique(np.quantile(expected_N, np.arange(1, NUM_BINS) / NUM_BINS))
    return np.searchsorted(inner, expected_N, side="left")


def _choice(
    row_N: np.ndarray,
    person_N: np.ndarray,
    expected_N: np.ndarray,
    gain_N: np.ndarray,
    num_persons: int,
    options: Options,
) -> dict[str, Any]:
    """Of patients with at least two hidden modalities: the best one against the average one."""
    _, patient_N, num_B = np.unique(row_N, return_inverse=True, return_counts=True)
    has_choice_N = num_B[patient_N] > 1
    order_N = np.lexsort((-expected_N, patient_N))
    is_first = np.r_[True, patient_N[order_N][1:] != patient_N[order_N][:-1]]
    best_N = np.zeros(len(row_N))
    best_N[order_N[is_first]] = 1.0
    means = {
        "best": Mean(person_N, gain_N, best_N * has_choice_N),
        "average": Mean(person_N, gain_N, has_choice_N / num_B[patient_N]),
    }
    contrasts = {
        "best": {"best": 1.0},
        "average": {"average": 1.0},
        "difference": {"best": 1.0, "average": -1.0},
    }
    return {
        "patients": int((num_B > 1).sum()),
        **figures(means, contrasts, num_persons, options),
    }


def _cells(
    left_NM: np.ndarray,
    modality_N: np.ndarray,
    person_N: np.ndarray,
    expected_N: np.ndarray,
    gain_N: np.ndarray,
    num_persons: int,
    options: Options,
) -> dict[str, Any] | None:
    """Correlation of mean expected and mean realised gains; None with fewer than 5 cells."""
    _, cell_N, num_G = np.unique(
        np.column_stack([modality_N, left_NM]), axis=0, return_inverse=True, return_counts=True
    )
    large_G = num_G >= MIN_CELL
    if large_G.sum() < MIN_CELLS:
        return None
    some = large_G[cell_N.ravel()]
    cell = np.cumsum(large_G)[cell_N.ravel()[some]] - 1
    shape = (num_persons, int(large_G.sum()))
    sums = [
        sparse.coo_array((value_N[some], (person_N[some], cell)), shape=shape).tocsr()
        for value_N in (np.ones(len(gain_N)), expected_N, gain_N)
    ]

    def correlation(weight_RP: np.ndarray) -> np.ndarray:
        num_RG, expected_RG, gain_RG = ((sum_PG.T @ weight_RP.T).T for sum_PG in sums)
        x_RG, y_RG = _ratio(expected_RG, num_RG), _ratio(gain_RG, num_RG)
        seen_RG = num_RG > 0
        powers = (np.ones_like(x_RG), x_RG, y_RG, x_RG**2, y_RG**2, x_RG * y_RG)
        moments = [np.where(seen_RG, power, 0.0).sum(axis=1) for power in powers]
        return _correlation(np.column_stack(moments))

    value_R = np.concatenate([correlation(draw) for draw in _draws(num_persons, options)])
    point = float(correlation(np.ones((1, num_persons)))[0])
    return {"num": shape[1], "pearson": _figure(point, value_R, person_N[some], options)}


def _draws(num_persons: int, options: Options) -> Any:
    return resamples(
        np.arange(num_persons), num_persons, num_boot=options.num_boot, seed=options.seed
    )


def _figure(
    value: float, value_R: np.ndarray, person_N: np.ndarray, options: Options
) -> dict[str, Any]:
    if np.isnan(value):
        return {"value": None, "ci": None}
    enough = len(np.unique(person_N)) >= MIN_PERSONS
    return {"value": value, "ci": interval(value_R, options.level) if enough else None}


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
