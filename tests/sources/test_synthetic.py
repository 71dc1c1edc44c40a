"""Laws of the synthetic cohort: the optimum is the optimum, and kappa is concept shift."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from remind.cohort import Groups
from remind.errors import InputError
from remind.sources import synthetic
from remind.sources.synthetic import (
    FusionFunction,
    SyntheticConfig,
    excess_log_loss,
    load_synthetic,
)

DEFAULT = SyntheticConfig()
SMALL = SyntheticConfig(num_patients=400, num_modalities=6)

configs = st.builds(
    SyntheticConfig,
    num_patients=st.just(60),
    num_modalities=st.integers(2, 20),
    num_latents=st.integers(1, 3),
    num_combinations=st.integers(1, 5000),
    kappa=st.floats(0, 3),
    particular=st.floats(0, 1),
    rank=st.integers(1, 4),
    noise=st.floats(0, 0.5),
    missing=st.sampled_from(["random", "severity"]),
    seed=st.integers(0, 2**40),
)


def latents_from_columns(frame: pd.DataFrame, config: SyntheticConfig) -> np.ndarray:
    """Invert the observation: (N, M, L), NaN where the modality is not observed."""
    shape = (len(frame), config.num_modalities, config.num_latents, 2)
    pairs = frame.filter(regex=r"^m\d\d_").to_numpy().reshape(shape)
    first, second = pairs[..., 0], 2 * np.log(pairs[..., 1])
    return np.sqrt(1 - config.noise) * first - np.sqrt(config.noise) * second


def weights_of(config: SyntheticConfig, patterns: list[list[int]]) -> np.ndarray:
    present = np.zeros((len(patterns), config.num_modalities), bool)
    for row, pattern in enumerate(patterns):
        present[row, pattern] = True
    return FusionFunction(config).weights(present)


@settings(deadline=None, max_examples=25)
@given(config=configs)
def test_optimum_is_a_function_of_the_observed_columns_alone(config: SyntheticConfig) -> None:
    frame, optimum_N = synthetic.draw(config)
    latent_NML = latents_from_columns(frame, config)
    present_NM = ~np.isnan(latent_NML[:, :, 0])
    assert present_NM.any(axis=1).all()
    logit_N = FusionFunction(config).logits(np.nan_to_num(latent_NML), present_NM)
    np.testing.assert_allclose(expit(logit_N), optimum_N, atol=1e-9)


@pytest.mark.parametrize("missing", ["random", "severity"])
def test_labels_agree_with_the_optimum_in_every_bin(missing) -> None:
    frame, optimum_N = synthetic.draw(replace(DEFAULT, missing=missing))
    surplus_N = frame["outcome"].to_numpy() - optimum_N
    variance_N = optimum_N * (1 - optimum_N)
    num_observed_N = frame.filter(regex="_1$").notna().sum(axis=1).to_numpy()
    for bin_N in (pd.qcut(optimum_N, 20, labels=False), num_observed_N, np.zeros(len(frame))):
        for value in np.unique(bin_N):
            rows = bin_N == value
            assert abs(surplus_N[rows].sum()) < 4 * np.sqrt(variance_N[rows].sum())


def test_without_concept_shift_a_modality_adds_the_same_in_every_combination() -> None:
    weights = weights_of(replace(SMALL, kappa=0.0), [[0], [0, 1], [0, 3, 5], list(range(6))])
    assert np.ptp(weights[:, 0]) < 1e-12
    assert weights[0, 0] != 0


def test_with_concept_shift_a_modality_weighs_differently_with_its_company() -> None:
    pool = synthetic.combinations(DEFAULT)
    weight = FusionFunction(DEFAULT).weights(pool)
    spread = [weight[pool[:, m], m].std() for m in range(DEFAULT.num_modalities)]
    np.testing.assert_allclose(spread, np.sqrt(0.5), rtol=0.06)


@pytest.mark.parametrize("particular", [0.0, 0.5])
def test_only_the_particular_part_cannot_be_learned_from_other_combinations(particular) -> None:
    """Without it, weights of smaller combinations give those of larger ones (pairwise effects)."""
    config = replace(SMALL, particular=particular)
    base, with_1, with_2, with_both = weights_of(config, [[0], [0, 1], [0, 2], [0, 1, 2]])[:, 0]
    assert (abs(with_1 + with_2 - base - with_both) < 1e-12) == (particular == 0.0)


def test_same_seed_same_cohort() -> None:
    first, second, other = (synthetic.draw(replace(SMALL, seed=seed))[0] for seed in (7, 7, 8))
    pd.testing.assert_frame_equal(first, second)
    assert not first.drop(columns="id").equals(other.drop(columns="id"))


def test_concept_shift_changes_outcomes_only() -> None:
    low, high = (synthetic.draw(replace(SMALL, kappa=kappa))[0] for kappa in (0.0, 2.0))
    pd.testing.assert_frame_equal(low.drop(columns="outcome"), high.drop(columns="outcome"))
    assert (low["outcome"] != high["outcome"]).any()


@pytest.mark.parametrize(("missing", "expected"), [("random", 0.0), ("severity", 0.7)])
def test_missingness_depends_on_severity_only_if_asked(missing, expected) -> None:
    config = replace(DEFAULT, missing=missing)
    present_NM = synthetic.draw_present(config)
    severity_N = synthetic.draw_severity(config, present_NM)
    latent_NML = synthetic.draw_latents(config, severity_N)
    breadth_N = present_NM.sum(axis=1)
    tolerance = 4 / np.sqrt(config.num_patients)
    assert np.corrcoef(breadth_N, severity_N)[0, 1] == pytest.approx(expected, abs=tolerance)
    latent_N = latent_NML[:, 0, 0]
    of_latent = np.corrcoef(breadth_N, latent_N)[0, 1]
    assert of_latent == pytest.approx(expected * synthetic.SEVERITY_LOAD, abs=tolerance)
    assert latent_N.std() == pytest.approx(1.0, abs=tolerance)


@settings(deadline=None)
@given(
    optimum=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=20),
    shift=st.floats(0.01, 3) | st.floats(-3, -0.01),
)
def test_no_probability_beats_the_optimum(optimum: list[float], shift: float) -> None:
    q = np.array(optimum)
    p = expit(logit(q) + shift)
    expected = np.mean(-q * np.log(p) - (1 - q) * np.log(1 - p))
    entropy = np.mean(-q * np.log(q) - (1 - q) * np.log(1 - q))
    assert excess_log_loss(q, q) == 0
    assert excess_log_loss(p, q) > 0
    assert excess_log_loss(p, q) == pytest.approx(expected - entropy, abs=1e-12)


def test_excess_log_loss_of_certainty_is_infinite_and_shapes_must_fit() -> None:
    assert excess_log_loss(np.array([1.0]), np.array([0.9])) == np.inf
    with pytest.raises(ValueError, match=r"one probability per patient: \(2,\) against \(3,\)"):
        excess_log_loss(np.full(2, 0.5), np.full(3, 0.5))


def test_one_additive_function_is_right_without_and_wrong_with_concept_shift() -> None:
    """Given the true contributions, a sum over modalities is all that kappa = 0 needs."""
    excess = {}
    for kappa in (0.0, 1.0):
        config = replace(DEFAULT, kappa=kappa)
        frame, optimum_N = synthetic.draw(config)
        latent_NML = np.nan_to_num(latents_from_columns(frame, config))
        present_NM = frame.filter(regex="_1$").notna().to_numpy()
        terms_NM = np.where(present_NM, FusionFunction(config).contributions(latent_NML), 0.0)
        train, test = (frame["split"].to_numpy() == name for name in ("train", "test"))
        model = LogisticRegression().fit(terms_NM[train], frame["outcome"].to_numpy()[train])
        excess[kappa] = excess_log_loss(model.predict_proba(terms_NM[test])[:, 1], optimum_N[test])
    assert excess[0.0] < 0.003
    assert excess[1.0] > 0.09


def test_cohort_carries_its_optimum_and_fills_every_band() -> None:
    loaded = load_synthetic()
    cohort = loaded.cohort
    frame, optimum_N = synthetic.draw(DEFAULT)
    by_id = pd.Series(optimum_N, index=frame["id"])
    np.testing.assert_array_equal(loaded.optimum_N, by_id.loc[cohort.ids])
    train, test = cohort.rows("train"), cohort.rows("test")
    names = list(synthetic.column_names(DEFAULT))
    band_N = Groups.fit(cohort.present_NM[train], names).band(cohort.present_NM[test])
    shares = {band: np.mean(band_N == band) for band in ("head", "medium", "tail", "unseen")}
    assert min(shares.values()) > 0.08, shares


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"particular": 1.5}, "synthetic: particular must be in 0..1, got 1.5"),
        ({"num_modalities": 1}, "synthetic: num_modalities must be in 2..62, got 1"),
        ({"tail": float("inf")}, "synthetic: tail must be at least 0, got inf"),
        ({"missing": "yes"}, 'synthetic: missing must be "random" or "severity", got "yes"'),
    ],
)
def test_options_out_of_range_are_refused(options, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        SyntheticConfig(**options)
    assert str(caught.value) == sentence
