"""Metrics of class probabilities: pure functions of labels (N,) and probabilities (N, C).

With two classes the second is the positive class. A decision is the most probable class (a tie goes
to the earlier one), which for two classes is the threshold 0.5. A metric that its patients cannot
define is None, never 0: too few classes among the true labels, or no patient at all.
"""

# N patients, C classes, K bins of confidence

from collections.abc import Callable

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

Metric = Callable[[np.ndarray, np.ndarray], float | None]

NUM_BINS = 15
EPS = float(np.finfo(np.float64).eps)


def auroc(label_N: np.ndarray, prob_NC: np.ndarray) -> float | None:
    """Area under the ROC curve; beyond two classes the mean of one-versus-rest.

    The mean is over classes that some patients have and some have not; None if there is none.
    """
    return _one_versus_rest(roc_auc_score, label_N, prob_NC)


def auprc(label_N: np.ndarray, prob_NC: np.ndarray) -> float | None:
    """Average precision, sum_k (recall_k - recall_{k-1}) precision_k; classes as for `auroc`."""
    return _one_versus_rest(average_precision_score, label_N, prob_NC)


def accuracy(label_N: np.ndarray, prob_NC: np.ndarray) -> float | None:
    """Share of patients whose most probable class is the true one."""
    return _mean(decision(prob_NC) == label_N)


def f1(label_N: np.ndarray, prob_NC: np.ndarray) -> float | None:
    """F1 of the positive (last) of two classes; beyond two classes the same as `f1_macro`.

    None if no patient has the positive class: F1 would then be 0 or undefined whatever the model.
    """
    if prob_NC.shape[1] > 2:
        return f1_macro(label_N, prob_NC)
    score_C, support_C = _f1_per_class(label_N, prob_NC)
    return float(score_C[1]) if support_C[1] else None


def f1_macro(label_N: np.ndarray, prob_NC: np.ndarray) -> float | None:
    """Mean F1 of the classes that some patient has; None if there are fewer than two of them."""
    score_C, support_C = _f1_per_class(label_N, prob_NC)
    supported_C = support_C > 0
    return float(score_C[supported_C].mean()) if supported_C.sum() > 1 else None


def log_loss(label_N: np.ndarray, prob_NC: np.ndarray) -> float | None:
    """Mean -log p(true class) in nats, p at least the float64 epsilon (so at most 36 nats)."""
    return _mean(log_loss_of_rows(label_N, prob_NC))


def brier(label_N: np.ndarray, prob_NC: np.ndarray) -> float | None:
    """Two classes: mean (p - y)^2 of the positive class. More: mean sum_c (p_c - y_c)^2.

    (Brier 1950 sums over the classes; for two classes that is twice the figure in common use.)
    """
    return _mean(brier_of_rows(label_N, prob_NC))


def ece(label_N: np.ndarray, prob_NC: np.ndarray) -> float | None:
    """Expected calibration error, sum_k n_k / N |share of hits_k - mean confidence_k|.

    15 bins of equal width (Guo et al. 2017, equation 3). Two classes: the confidence is the
    positive probability and a hit is a positive patient. More classes: the highest probability,
    and being right.
    """
    if not len(label_N):
        return None
    bin_N, gap_N = calibration_of_rows(label_N, prob_NC)
    gap_K = np.bincount(bin_N, weights=gap_N, minlength=NUM_BINS)
    return float(np.abs(gap_K).sum() / len(label_N))


METRICS: dict[str, Metric] = {
    "auroc": auroc,
    "auprc": auprc,
    "accuracy": accuracy,
    "f1": f1,
    "f1_macro": f1_macro,
    "log_loss": log_loss,
    "brier": brier,
    "ece": ece,
}


OF_ROWS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "accuracy": lambda label_N, prob_NC: (decision(prob_NC) == label_N).astype(np.float64),
    "log_loss": lambda label_N, prob_NC: log_loss_of_rows(label_N, prob_NC),
    "brier": lambda label_N, prob_NC: brier_of_rows(label_N, prob_NC),
}
"""The metrics that are means over patients: labels and probabilities to each patient's own (N,)."""


def measure(label_N: np.ndarray, prob_NC: np.ndarray) -> dict[str, float | None]:
    """Return every metric by name."""
    return {name: metric(label_N, prob_NC) for name, metric in METRICS.items()}


def decision(prob_NC: np.ndarray) -> np.ndarray:
    """Return the most probable class of each row, int64 (N,)."""
    return prob_NC.argmax(axis=1)


def log_loss_of_rows(label_N: np.ndarray, prob_NC: np.ndarray) -> np.ndarray:
    """Return each patient's log loss in nats (N,)."""
    return -np.log(np.clip(prob_NC[np.arange(len(label_N)), label_N], EPS, 1.0))


def brier_of_rows(label_N: np.ndarray, prob_NC: np.ndarray) -> np.ndarray:
    """Return each patient's squared error (N,); see `brier` for the two forms."""
    if prob_NC.shape[1] == 2:
        return (prob_NC[:, 1] - label_N) ** 2
    return ((prob_NC - np.eye(prob_NC.shape[1])[label_N]) ** 2).sum(axis=1)


def calibration_of_rows(label_N: np.ndarray, prob_NC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each patient's bin of confidence, int64, and hit minus confidence (N,)."""
    if prob_NC.shape[1] == 2:
        confidence_N, hit_N = prob_NC[:, 1], label_N == 1
    else:
        confidence_N, hit_N = prob_NC.max(axis=1), decision(prob_NC) == label_N
    bin_N = np.clip((confidence_N * NUM_BINS).astype(np.int64), 0, NUM_BINS - 1)
    return bin_N, hit_N - confidence_N


def judged_classes(num_classes: int) -> range:
    """Return the classes to judge one versus rest: the positive one of two, or all."""
    return range(1, 2) if num_classes == 2 else range(num_classes)


def _one_versus_rest(
    score: Callable[..., float], label_N: np.ndarray, prob_NC: np.ndarray
) -> float | None:
    values = [
        score(label_N == c, prob_NC[:, c])
        for c in judged_classes(prob_NC.shape[1])
        if 0 < np.count_nonzero(label_N == c) < len(label_N)
    ]
    return _mean(np.array(values))


def _f1_per_class(label_N: np.ndarray, prob_NC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F1 (C,), NaN for a class neither true nor predicted, and true patients per class (C,)."""
    C = prob_NC.shape[1]
    decision_N = decision(prob_NC)
    hits_C = np.bincount(label_N[label_N == decision_N], minlength=C)
    support_C = np.bincount(label_N, minlength=C)
    either_C = support_C + np.bincount(decision_N, minlength=C)
    score_C = np.divide(2 * hits_C, either_C, out=np.full(C, np.nan), where=either_C > 0)
    return score_C, support_C


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
