"""What validation minimizes: the mean log loss, and that of the bands."""

# N validation patients

from typing import NamedTuple

import numpy as np

from remind.cohort import BAND_NAMES

PRIOR_PATIENTS = 50
"""Patients that the mean over everyone is worth in the loss of a band."""


class Criterion(NamedTuple):
    """The value to minimize, the mean log loss, and that of each band present (all in nats)."""

    value: float
    mean: float
    bands: dict[str, float]


def criterion(loss_N: np.ndarray, band_N: np.ndarray, band_weight: float) -> Criterion:
    """The criterion that epochs are selected by.

    (1 - w) L + w mean_b (n_b L_b + 50 L) / (n_b + 50)

    L is the mean log loss, L_b that of the n_b patients of band b, and the mean goes over the bands
    that have a patient. A band of a handful hardly moves it: its loss is noise.

    Args:
        loss_N: log loss of each patient, at least one.
        band_N: band of each patient, by training counts.
        band_weight: w in [0, 1]; 0 leaves the mean log loss.
    """
    mean = float(loss_N.mean())
    losses = {name: loss_N[band_N == name] for name in BAND_NAMES if (band_N == name).any()}
    shrunken = [
        (loss_n.sum() + PRIOR_PATIENTS * mean) / (len(loss_n) + PRIOR_PATIENTS)
        for loss_n in losses.values()
    ]
    value = (1 - band_weight) * mean + band_weight * float(np.mean(shrunken))
    return Criterion(value, mean, {name: float(loss_n.mean()) for name, loss_n in losses.items()})
