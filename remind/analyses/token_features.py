"""Few features per modality from the tokens of a frozen encoder."""

# N patients, M modalities, D width, R components, C classes, Q targets

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from remind.cohort import Batch, Encoded
from remind.encoders import TokenEncoder
from remind.fusion import mean_slots

COMPONENTS = 8
"""Principal components of a modality's tokens that the shared head reads."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """What heads read.

    Args:
        score_QNM: contribution of each modality to the logit of each target, in a head that all
            patients share; 0 where the modality is absent. A target is a class against the rest,
            one target where there are two classes.
        component_NMR: first principal components of its tokens, of unit variance; 0 where absent.
        present_NM: whether each modality is observed.
    """

    score_QNM: np.ndarray
    component_NMR: np.ndarray
    present_NM: np.ndarray


def token_features(
    encoder: TokenEncoder, encoded: Encoded, num_classes: int, *, components: int = 1
) -> Features:
    """Features of all patients of an encoded cohort; every label is known.

    A modality's tokens are encoded without the others, so a patient who is masked down to fewer
    modalities keeps the features of those that are left.

    Args:
        encoder: frozen; its modalities are those of the cohort.
        encoded: labelled.
        num_classes: C.
        components: that are kept for heads, in 0..8.
    """
    component_NMR = _components(pooled_tokens(encoder, encoded), encoded.present_NM)
    return make_features(
        component_NMR, encoded.present_NM, encoded.label_N, num_classes, components=components
    )


def make_features(
    component_NMR: np.ndarray,
    present_NM: np.ndarray,
    label_N: np.ndarray,
    num_classes: int,
    *,
    components: int = 1,
) -> Features:
    """Scores of a shared head on features per modality, beside the first of these features.

    Args:
        component_NMR: of unit variance among those observed, most important first.
        present_NM: whether each modality is observed.
        label_N: classes 0..C-1.
        num_classes: C.
        components: features of each modality that are kept.
    """
    component_NMR = np.where(present_NM[:, :, None], component_NMR, 0.0)
    targets = range(1, num_classes) if num_classes == 2 else range(num_classes)
    scores = [_scores(component_NMR, present_NM, label_N == target) for target in targets]
    return Features(
        score_QNM=np.stack(scores),
        component_NMR=component_NMR[:, :, :components],
        present_NM=present_NM,
    )


def pooled_tokens(encoder: TokenEncoder, encoded: Encoded, size: int = 2048) -> np.ndarray:
    """Mean token of every modality, float32 (N, M, D); 0 where it is absent."""
    rows = np.arange(len(encoded))
    device = next(encoder.parameters()).device
    was_training = encoder.training
    encoder.eval()
    try:
        with torch.inference_mode():
            parts = [
                _pooled(encoder, encoded.batch(rows[start : start + size]).to(device))
                for start in range(0, len(rows), size)
            ]
    finally:
        encoder.train(was_training)
    return torch.cat(parts).cpu().numpy()


def _pooled(encoder: TokenEncoder, batch: Batch) -> Tensor:
    return mean_slots(encoder(batch), batch.present_BM)


def _components(token_NMD: np.ndarray, present_NM: np.ndarray) -> np.ndarray:
    """First principal components of each modality's tokens, of unit variance: (N, M, R)."""
    num_patients, num_modalities, width = token_NMD.shape
    component_NMR = np.zeros((num_patients, num_modalities, min(COMPONENTS, width)))
    for m in range(num_modalities):
        has_N = present_NM[:, m]
        token_XD = token_NMD[has_N, m].astype(np.float64)
        if len(token_XD) < 2:
            continue
        away_XD = token_XD - token_XD.mean(axis=0)
        variance_D, axis_DD = np.linalg.eigh(away_XD.T @ away_XD / len(away_XD))
        last = slice(None, -component_NMR.shape[2] - 1, -1)
        scale_R = np.sqrt(np.maximum(variance_D[last], 1e-12))
        is_real_R = variance_D[last] > 1e-8 * max(variance_D[-1], 1e-12)
        component_NMR[has_N, m] = away_XD @ axis_DD[:, last] / scale_R * is_real_R
    return component_NMR


def _scores(component_NMR: np.ndarray, present_NM: np.ndarray, is_target_N: np.ndarray):
    """Contribution of each modality to a logistic head on everything: (N, M)."""
    num_patients, num_modalities, num_components = component_NMR.shape
    if is_target_N.all() or not is_target_N.any():
        return np.zeros((num_patients, num_modalities))
    flat_NX = component_NMR.reshape(num_patients, -1)
    model = LogisticRegression(max_iter=500)
    model.fit(np.column_stack([flat_NX, present_NM]), is_target_N)
    weight_MR = model.coef_[0][: flat_NX.shape[1]].reshape(num_modalities, num_components)
    return np.einsum("nmr,mr->nm", component_NMR, weight_MR)
