"""TabM's settings, and small cohorts; its run folder is tested with all methods in test_cli."""

import re

import numpy as np
import pytest

from remind.baselines import TABM, TabMConfig
from remind.errors import InputError
from remind.sources import load_source
from remind.training import fit_run, with_overrides


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"width": 0}, "width must be a whole number >= 1, got 0"),
        ({"members": 0}, "members must be a whole number >= 1, got 0"),
        ({"bins": 1}, "bins must be a whole number >= 2, got 1"),
        ({"batch_size": 0}, "batch_size must be a whole number >= 1, got 0"),
        ({"lr": 0.0}, "lr must be a number > 0, got 0.0"),
        ({"weight_decay": -1.0}, "weight_decay must be a number >= 0, got -1.0"),
        ({"dropout": 1.0}, "dropout must be in [0, 1), got 1.0"),
    ],
)
def test_wrong_values_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match="^" + re.escape(sentence) + "$"):
        TabMConfig(**options)


def test_fewer_patients_than_bins_are_learned_from() -> None:
    cohort = load_source("synthetic", num_patients=50, num_modalities=3, seed=1)
    assert len(cohort.rows("train")) < TABM.config.bins
    settings = with_overrides(TABM.default_settings(), ["epochs=2", "width=8"])
    prob_NC = fit_run(cohort, TABM, settings).predictor.predict_proba(cohort)
    np.testing.assert_allclose(prob_NC.sum(1), 1, rtol=1e-6)
