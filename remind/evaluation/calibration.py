"""Calibration by band: do ten patients in a hundred die among those told ten per cent?

With two classes the confidence is the positive probability and a hit is a positive patient; beyond
two it is the highest probability, and being right. (The same as for `metrics.ece`.)

    curve      share of hits against mean confidence, in bins that hold equally many patients
    intercept  a of logit P(hit) = a + logit(confidence): 0 is right; above 0, risk is understated
    slope      b of logit P(hit) = a' + b logit(confidence): 1 is right; below 1, the model is
               too sure of itself, above 1 not sure enough

(Cox 1958; Van Calster et al. 2019.) Intervals of slope, intercept and ECE are bootstrap by person,
as `bootstrap` says; those of the curve are Wilson's where every person in the bin has one row, else
bootstrap by person too.
"""

# N rows, R resamples, K bins of the curve

from typing import Any

import numpy as np
import pandas as pd

from remind.evaluation.bootstrap import (
    MIN_PERSONS,
    NUM_BOOT,
    check_bootstrap,
    metric_interval,
    person_codes,
    resamples,
)
from remind.evaluation.metrics import decision, ece
from remind.evaluation.predictions import (
    BANDS,
    check_predictions,
    classes_of,
    label_of,
    positive_of,
    prob_of,
)
from remind.evaluation.proportions import share_interval, wilson
from remind.evaluation.weighted import WEIGHTED

MIN_PER_BIN = 20
"""Patients below which a further bin of the curve says nothing."""
EDGE = 1e-6  # confidences are kept this far from 0 and 1, where the logit is infinite
NEWTON_STEPS = 25
MAX_SLOPE = 100.0  # beyond it the classes are separated and the slope is unbounded


def calibration(
    predictions: pd.DataFrame,
    *,
    num_bins: int = 10,
    num_boot: int = NUM_BOOT,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Reliability curve, ECE, slope and intercept, overall and by band.

    Args:
        predictions: see `remind.evaluation.predictions`; one method, one split, one seed.
        num_bins: most points of a curve, >= 1; a block with few patients has fewer.
        num_boot: bootstrap resamples of persons.
        seed: of the resamples.
        level: of the intervals.

    Returns:
        JSON: ``blocks`` has overall and each band; each holds ``n``, ``curve`` (a list of ``n``,
        ``predicted``, ``observed``, ``ci``), ``ece``, ``slope``, ``intercept`` and their intervals
        under ``ci``. What the patients cannot define is None.

    Raises:
        InputError: the table breaks its contract.
        ValueError: num_bins, num_boot or level out of range.
    """
    check_predictions(predictions)
    check_bootstrap(num_boot, level)
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    options: dict[str, Any] = {"num_boot": num_boot, "seed": seed, "level": level}
    blocks = {"overall": predictions} | {
        band: predictions.loc[predictions["band"] == band] for band in BANDS
    }
    positive = positive_of(classes_of(predictions))
    return {
        "confidence": "highest probability" if positive is None else f"prob_{positive}",
        "bootstrap": {"unit": "person", **options},
        "blocks": {name: _block(frame, num_bins, **options) for name, frame in blocks.items()},
    }


def slope_and_intercept(
    confidence_N: np.ndarray, hit_N: np.ndarray, weight_RN: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the slope (R,) and the intercept (R,) of each weighting, NaN where undefined.

    Undefined: all hit, none hit, or (the slope only) confidences that separate them or are all
    alike. Both are maximum likelihood by Newton's method.
    """
    kept_N = np.clip(confidence_N, EDGE, 1 - EDGE)
    logit_N = np.log(kept_N / (1 - kept_N))
    hit_N = hit_N.astype(np.float64)
    hits_R, total_R = weight_RN @ hit_N, weight_RN.sum(axis=1)
    undefined_R = (hits_R <= 0) | (hits_R >= total_R)
    slope_R = _newton_slope(logit_N, hit_N, weight_RN)
    intercept_R = _newton_intercept(logit_N, hits_R, weight_RN)
    return (
        np.where(undefined_R, np.nan, slope_R),
        np.where(undefined_R, np.nan, intercept_R),
    )


def _block(frame: pd.DataFrame, num_bins: int, **options: Any) -> dict[str, Any]:
    label_N, prob_NC = label_of(frame), prob_of(frame)
    person_N = frame["person"].to_numpy()
    return {
        "n": len(frame),
        "curve": _curve(*_confidence(label_N, prob_NC), person_N, num_bins, **options),
        **_figures(label_N, prob_NC, person_N, **options),
    }


def _confidence(label_N: np.ndarray, prob_NC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if prob_NC.shape[1] == 2:
        return prob_NC[:, 1], label_N == 1
    return prob_NC.max(axis=1), decision(prob_NC) == label_N


def _curve(
    confidence_N: np.ndarray,
    hit_N: np.ndarray,
    person_N: np.ndarray,
    num_bins: int,
    **options: Any,
) -> list[dict[str, Any]]:
    """Bins between quantiles; equal confidences share a bin."""
    num = len(confidence_N)
    if num == 0:
        return []
    num_bins = int(np.clip(num // MIN_PER_BIN, 1, num_bins))
    inner = np.unique(np.quantile(confidence_N, np.arange(1, num_bins) / num_bins))
    bin_N = np.searchsorted(inner, confidence_N, side="left")
    points = []
    for k in np.unique(bin_N).tolist():
        inside_N = bin_N == k
        points.append(
            {
                "n": int(inside_N.sum()),
                "predicted": float(confidence_N[inside_N].mean()),
                "observed": float(hit_N[inside_N].mean()),
                "ci": share_interval(hit_N[inside_N], person_N[inside_N], wilson, **options),
            }
        )
    return points


def _figures(
    label_N: np.ndarray,
    prob_NC: np.ndarray,
    person_N: np.ndarray,
    *,
    num_boot: int,
    seed: int,
    level: float,
) -> dict[str, Any]:
    names = ("ece", "slope", "intercept")
    if not len(label_N):
        return {**dict.fromkeys(names), "ci": dict.fromkeys(names)}
    confidence_N, hit_N = _confidence(label_N, prob_NC)
    slope_1, intercept_1 = slope_and_intercept(confidence_N, hit_N, np.ones((1, len(label_N))))
    point = {
        "ece": ece(label_N, prob_NC),
        "slope": _number(slope_1[0]),
        "intercept": _number(intercept_1[0]),
    }
    code_N, num_persons = person_codes(person_N)
    if num_persons < MIN_PERSONS:
        return {**point, "ci": dict.fromkeys(names)}
    chunks = [
        (
            WEIGHTED["ece"](label_N, prob_NC, weight_RN),
            *slope_and_intercept(confidence_N, hit_N, weight_RN),
        )
        for weight_RN in resamples(code_N, num_persons, num_boot=num_boot, seed=seed)
    ]
    ci = {
        name: None
        if point[name] is None
        else metric_interval(name, np.concatenate(value_R), point[name], level)
        for name, value_R in zip(names, zip(*chunks, strict=True), strict=True)
    }
    return {**point, "ci": ci}


def _newton_slope(logit_N: np.ndarray, hit_N: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    """The slope of each weighting (R,); NaN where Newton's method does not settle."""
    a_R, b_R = np.zeros(len(weight_RN)), np.ones(len(weight_RN))
    step_R = np.full(len(weight_RN), np.inf)
    for _ in range(NEWTON_STEPS):
        prob_RN = _sigmoid(a_R[:, None] + b_R[:, None] * logit_N)
        error_RN = weight_RN * (hit_N - prob_RN)
        curve_RN = weight_RN * prob_RN * (1 - prob_RN)
        s0_R, s1_R, s2_R = (curve_RN @ power_N for power_N in (logit_N**0, logit_N, logit_N**2))
        g0_R, g1_R = error_RN.sum(axis=1), error_RN @ logit_N
        determinant_R = s0_R * s2_R - s1_R**2
        flat_R = determinant_R <= 1e-10 * np.maximum(s0_R * s2_R, 1e-300)
        safe_R = np.where(flat_R, 1.0, determinant_R)
        step_R = np.where(flat_R, np.nan, (s0_R * g1_R - s1_R * g0_R) / safe_R)
        a_step_R = np.where(flat_R, 0.0, (s2_R * g0_R - s1_R * g1_R) / safe_R)
        shrink_R = 1 / np.maximum(1.0, np.maximum(np.abs(a_step_R), np.abs(step_R)) / 4)
        a_R, b_R = a_R + shrink_R * a_step_R, b_R + shrink_R * np.nan_to_num(step_R)
        if np.all(flat_R | (np.abs(step_R) < 1e-6)):
            break
    return np.where((np.abs(step_R) < 1e-3) & (np.abs(b_R) < MAX_SLOPE), b_R, np.nan)


def _newton_intercept(logit_N: np.ndarray, hits_R: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    """The intercept at slope 1 of each weighting (R,); the likelihood is concave in it."""
    a_R = np.zeros(len(weight_RN))
    for _ in range(NEWTON_STEPS):
        prob_RN = _sigmoid(a_R[:, None] + logit_N)
        curve_R = (weight_RN * prob_RN * (1 - prob_RN)).sum(axis=1)
        error_R = hits_R - (weight_RN * prob_RN).sum(axis=1)
        step_R = np.clip(error_R / np.maximum(curve_R, 1e-12), -2.0, 2.0)
        a_R = a_R + step_R
        if np.all(np.abs(step_R) < 1e-6):
            break
    return a_R


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(logit, -50.0, 50.0)))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
