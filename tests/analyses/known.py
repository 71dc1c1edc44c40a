"""Cohorts whose best prediction is known for every patient in every presence, and runs of it."""

# N patients, M modalities, Q nodes of a quadrature

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from remind.cohort import Bands, Cohort, Encoding, cohort_from_frame, spec_from_dict
from remind.sources.synthetic import (
    FusionFunction,
    SyntheticCohort,
    SyntheticConfig,
    column_names,
    load_synthetic,
)

Change = Callable[[np.ndarray, Cohort], np.ndarray]


def unchanged(logit_N: np.ndarray, cohort: Cohort) -> np.ndarray:
    """The optimum as it is."""
    return logit_N


class Known:
    """A predictor that knows the best logits, and may be made worse."""

    def __init__(self, logits: Callable[[Cohort], np.ndarray], change: Change = unchanged) -> None:
        self.logits = logits
        self.change = change

    def predict_proba(self, cohort: Cohort) -> np.ndarray:
        prob_N = expit(self.change(self.logits(cohort), cohort))
        return np.column_stack([1 - prob_N, prob_N])


def run_of(cohort: Cohort, predictor: Known, bands: Bands | None = None) -> Any:
    """What the analyses need of a run."""
    encoding = Encoding.fit(cohort, cohort.rows("train"), bands=bands)
    return SimpleNamespace(encoding=encoding, predictor=predictor)


def synthetic(**options: Any) -> tuple[SyntheticCohort, Callable[[Cohort], np.ndarray]]:
    """The synthetic source, and its best logit, which is read off the observed columns."""
    config = SyntheticConfig(**options)
    function = FusionFunction(config)
    cos, sin = np.sqrt(1 - config.noise), np.sqrt(config.noise)

    def logits(cohort: Cohort) -> np.ndarray:
        columns = column_names(config).items()
        x = np.stack([cohort.values[name][names].to_numpy() for name, names in columns], axis=1)
        pair = x.reshape(*x.shape[:2], -1, 2)
        latent_NML = cos * pair[..., 0] - 2 * sin * np.log(pair[..., 1])
        observed = np.where(cohort.present_NM[:, :, None], latent_NML, 0.0)
        return function.logits(observed, cohort.present_NM)

    return load_synthetic(config), logits


def masked_at_random(
    num: int, weight_M: np.ndarray, share: Callable[[np.ndarray], np.ndarray], seed: int = 0
) -> tuple[Cohort, Callable[[Cohort], np.ndarray]]:
    """Everyone is drawn complete, y ~ sigmoid(-0.5 + w x), and masked without regard to x.

    Args:
        num: patients.
        weight_M: w; every modality is one number, standard normal.
        share: of the patterns (U, M), all that are not empty, how often each occurs.
        seed: of everything.

    Returns:
        The cohort and the best logit of P(y | what is observed): missing numbers are integrated
        out, which depends on the variance of their part of w x only.
    """
    rng = np.random.default_rng(seed)
    num_modalities = len(weight_M)
    bits_UM = (np.arange(1, 2**num_modalities)[:, None] >> np.arange(num_modalities)) & 1 == 1
    share_U = share(bits_UM)
    present_NM = bits_UM[rng.choice(len(bits_UM), num, p=share_U / share_U.sum())]
    x_NM = rng.normal(size=(num, num_modalities))
    y_N = rng.random(num) < expit(-0.5 + x_NM @ weight_M)
    names = [f"m{m}" for m in range(num_modalities)]
    frame = pd.DataFrame(np.where(present_NM, x_NM, np.nan), columns=pd.Index(names))
    frame = frame.assign(
        id=[f"p{i}" for i in range(num)],
        y=y_N.astype(int),
        split=rng.choice(["train", "val", "test"], num, p=[0.5, 0.2, 0.3]),
    )
    spec = spec_from_dict(
        {
            "cohort": {"name": "known", "table": "-", "id": "id", "label": "y", "task": "binary"},
            "split": {"column": "split"},
            "modalities": {name: {"kind": "tabular", "columns": [name]} for name in names},
        },
        root=Path(),
        source="a test",
    )
    node_Q, share_Q = np.polynomial.hermite_e.hermegauss(21)

    def logits(cohort: Cohort) -> np.ndarray:
        x = np.column_stack([cohort.values[name][name] for name in names])
        known_N = np.where(cohort.present_NM, x, 0.0) @ weight_M
        spread_N = np.sqrt(~cohort.present_NM @ weight_M**2)
        prob_NQ = expit(-0.5 + known_N[:, None] + spread_N[:, None] * node_Q)
        prob_N = prob_NQ @ share_Q / share_Q.sum()
        return np.log(prob_N / (1 - prob_N))

    return cohort_from_frame(frame, spec), logits
