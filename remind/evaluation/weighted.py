"""The metrics with patient weights, for many weightings at once: the arithmetic of the bootstrap.

Each function takes labels (N,), probabilities (N, C) and weights >= 0 (R, N) and returns one value
per weighting (R,), NaN where it is undefined. An integer weight means what repeating the row means;
the definitions are those of `metrics`. But for those of ranking, the weights may be a sparse array.
"""

# R weightings, N patients, C classes, U distinct scores, K bins of confidence

from collections.abc import Callable

import numpy as np

from remind.evaluation.metrics import (
    NUM_BINS,
    brier_of_rows,
    calibration_of_rows,
    decision,
    judged_classes,
    log_loss_of_rows,
)

WeightedMetric = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def auroc(label_N: np.ndarray, prob_NC: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    """Mann-Whitney: weight of the pairs in which the positive scores higher, a tie being half."""
    return _one_versus_rest(_auroc, label_N, prob_NC, weight_RN)


def auprc(label_N: np.ndarray, prob_NC: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    """Average precision over the distinct scores as thresholds."""
    return _one_versus_rest(_auprc, label_N, prob_NC, weight_RN)


def accuracy(label_N: np.ndarray, prob_NC: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    return _mean(decision(prob_NC) == label_N, weight_RN)


def f1(label_N: np.ndarray, prob_NC: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    if prob_NC.shape[1] > 2:
        return f1_macro(label_N, prob_NC, weight_RN)
    score_RC, support_RC = _f1_per_class(label_N, prob_NC, weight_RN)
    return np.where(support_RC[:, 1] > 0, score_RC[:, 1], np.nan)


def f1_macro(label_N: np.ndarray, prob_NC: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    score_RC, support_RC = _f1_per_class(label_N, prob_NC, weight_RN)
    supported_RC = support_RC > 0
    num_R = supported_RC.sum(axis=1)
    total_R = np.where(supported_RC, score_RC, 0.0).sum(axis=1)
    return _ratio(total_R, np.where(num_R > 1, num_R, 0))


def log_loss(label_N: np.ndarray, prob_NC: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    return _mean(log_loss_of_rows(label_N, prob_NC), weight_RN)


def brier(label_N: np.ndarray, prob_NC: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    return _mean(brier_of_rows(label_N, prob_NC), weight_RN)


def ece(label_N: np.ndarray, prob_NC: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    bin_N, gap_N = calibration_of_rows(label_N, prob_NC)
    gap_NK = np.eye(NUM_BINS)[bin_N] * gap_N[:, None]
    return _ratio(np.abs(weight_RN @ gap_NK).sum(axis=1), weight_RN.sum(axis=1))


WEIGHTED: dict[str, WeightedMetric] = {
    "auroc": auroc,
    "auprc": auprc,
    "accuracy": accuracy,
    "f1": f1,
    "f1_macro": f1_macro,
    "log_loss": log_loss,
    "brier": brier,
    "ece": ece,
}


def _one_versus_rest(
    score: Callable[[np.ndarray, np.ndarray], np.ndarray],
    label_N: np.ndarray,
    prob_NC: np.ndarray,
    weight_RN: np.ndarray,
) -> np.ndarray:
    """Mean of `score` over the classes that define it; (positive_RU, negative_RU) -> (R,)."""
    value_RC = np.stack(
        [
            score(*_by_score(label_N == c, prob_NC[:, c], weight_RN))
            for c in judged_classes(prob_NC.shape[1])
        ],
        axis=1,
    )
    defined_RC = ~np.isnan(value_RC)
    return _ratio(np.where(defined_RC, value_RC, 0.0).sum(axis=1), defined_RC.sum(axis=1))


def _by_score(
    positive_N: np.ndarray, score_N: np.ndarray, weight_RN: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weight of positives and of negatives at each distinct score, descending (R, U)."""
    order_N = np.argsort(-score_N, kind="stable")
    sorted_N = score_N[order_N]
    start_U = np.flatnonzero(np.r_[True, sorted_N[1:] != sorted_N[:-1]])
    sorted_RN = weight_RN[:, order_N]
    total_RU = np.add.reduceat(sorted_RN, start_U, axis=1)
    positive_RU = np.add.reduceat(sorted_RN * positive_N[order_N], start_U, axis=1)
    return positive_RU, total_RU - positive_RU


def _auroc(positive_RU: np.ndarray, negative_RU: np.ndarray) -> np.ndarray:
    above_RU = np.cumsum(positive_RU, axis=1)
    pairs_R = (negative_RU * (above_RU - positive_RU / 2)).sum(axis=1)
    return _ratio(pairs_R, above_RU[:, -1] * negative_RU.sum(axis=1))


def _auprc(positive_RU: np.ndarray, negative_RU: np.ndarray) -> np.ndarray:
    hits_RU = np.cumsum(positive_RU, axis=1)
    called_RU = hits_RU + np.cumsum(negative_RU, axis=1)
    precision_RU = np.divide(hits_RU, called_RU, out=np.zeros_like(hits_RU), where=called_RU > 0)
    area_R = (positive_RU * precision_RU).sum(axis=1)
    one_class_R = called_RU[:, -1] == hits_RU[:, -1]
    return np.where(one_class_R, np.nan, _ratio(area_R, hits_RU[:, -1]))


def _f1_per_class(
    label_N: np.ndarray, prob_NC: np.ndarray, weight_RN: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """F1 (R, C), NaN for a class neither true nor predicted, and true weight per class (R, C)."""
    one_hot_CC = np.eye(prob_NC.shape[1])
    true_NC, decided_NC = one_hot_CC[label_N], one_hot_CC[decision(prob_NC)]
    support_RC = weight_RN @ true_NC
    hits_RC = weight_RN @ (true_NC * decided_NC)
    return _ratio(2 * hits_RC, support_RC + weight_RN @ decided_NC), support_RC


def _mean(value_N: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    return _ratio(weight_RN @ value_N.astype(np.float64), weight_RN.sum(axis=1))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, NaN where below is 0."""
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
