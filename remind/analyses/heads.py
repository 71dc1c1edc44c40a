"""Small logistic heads, many at once: the same patients under many weightings.

N patients, P features (the first is 1), R weightings.
"""

import numpy as np
from scipy.special import expit

STEPS = 5
LONGEST = 4.0  # of a Newton step, so that few patients who are separable do no harm
MAX_LOGIT = 30.0


def fit_heads(
    x_NP: np.ndarray, y_N: np.ndarray, weight_RN: np.ndarray, prior_P: np.ndarray, penalty: float
) -> np.ndarray:
    """Ridge logistic regression under each weighting, by Newton's method: (R, P).

    The penalty is penalty / 2 * |beta - prior|^2, on all but the intercept, beside a sum of losses.

    Args:
        x_NP: features, of unit variance; the first column is 1.
        y_N: 0 or 1.
        weight_RN: weight of each patient, >= 0.
        prior_P: where the penalty draws to.
        penalty: > 0.
    """
    num_features = x_NP.shape[1]
    ridge_P = np.full(num_features, penalty)
    ridge_P[0] = 1e-3 * penalty
    outer_NPP = (x_NP[:, :, None] * x_NP[:, None, :]).reshape(len(x_NP), -1)
    beta_RP = np.tile(prior_P, (len(weight_RN), 1))
    for _ in range(STEPS):
        prob_RN = expit(np.clip(beta_RP @ x_NP.T, -MAX_LOGIT, MAX_LOGIT))
        slope_RP = (weight_RN * (prob_RN - y_N)) @ x_NP + ridge_P * (beta_RP - prior_P)
        curve_RPP = (weight_RN * prob_RN * (1 - prob_RN)) @ outer_NPP
        curve_RPP = curve_RPP.reshape(-1, num_features, num_features) + np.diag(ridge_P)
        step_RP = np.linalg.solve(curve_RPP, slope_RP[:, :, None])[:, :, 0]
        beta_RP = beta_RP - np.clip(step_RP, -LONGEST, LONGEST)
    return beta_RP


def recalibrated_loss(logit_RN: np.ndarray, y_N: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    """Mean loss after intercept and slope >= 0 of the logits are fitted to these patients: (R,).

    What is left is how the logits order the patients: neither the base rate counts nor how much
    the logits spread.
    """
    num_R1 = np.maximum(weight_RN.sum(axis=1, keepdims=True), 1e-12)
    center_R1 = (weight_RN * logit_RN).sum(axis=1, keepdims=True) / num_R1
    logit_RN = logit_RN - center_R1
    spread_R1 = np.sqrt((weight_RN * logit_RN**2).sum(axis=1, keepdims=True) / num_R1)
    logit_RN = logit_RN / np.maximum(spread_R1, 1e-9)
    shift_R = np.zeros(len(logit_RN))
    slope_R = np.full(len(logit_RN), 0.5)
    for _ in range(STEPS):
        prob_RN = expit(shift_R[:, None] + slope_R[:, None] * logit_RN)
        error_RN = weight_RN * (prob_RN - y_N)
        curve_RN = weight_RN * prob_RN * (1 - prob_RN)
        g0_R, g1_R = error_RN.sum(1) + 1e-3 * shift_R, (error_RN * logit_RN).sum(1) + 1e-3 * slope_R
        h00_R, h11_R = curve_RN.sum(1) + 1e-3, (curve_RN * logit_RN**2).sum(1) + 1e-3
        h01_R = (curve_RN * logit_RN).sum(1)
        determinant_R = h00_R * h11_R - h01_R**2
        step0_R = (h11_R * g0_R - h01_R * g1_R) / determinant_R
        step1_R = (h00_R * g1_R - h01_R * g0_R) / determinant_R
        # Where the best slope is negative, the intercept alone is fitted.
        is_flat_R = slope_R - step1_R <= 0
        step0_R = np.where(is_flat_R & (slope_R == 0), g0_R / h00_R, step0_R)
        shift_R = shift_R - np.clip(step0_R, -LONGEST, LONGEST)
        slope_R = np.maximum(slope_R - np.clip(step1_R, -LONGEST, LONGEST), 0.0)
    return mean_loss(shift_R[:, None] + slope_R[:, None] * logit_RN, y_N, weight_RN)


def mean_loss(logit_RN: np.ndarray, y_N: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
    """Weighted mean log loss of logits, in nats: (R,)."""
    loss_RN = np.logaddexp(0.0, logit_RN) - y_N * logit_RN
    return (weight_RN * loss_RN).sum(axis=1) / np.maximum(weight_RN.sum(axis=1), 1e-12)
