"""Concept shift: found where functions differ, silent where only patients or base rates do."""

# N patients, M modalities, P features

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from remind.analyses.association import combined, false_discovery
from remind.analyses.concept_shift import ConceptShift, cluster, concept_shift
from remind.analyses.heads import fit_heads, mean_loss, recalibrated_loss
from remind.analyses.token_features import Features, make_features, pooled_tokens
from remind.cohort import Encoding
from remind.fusion import Model, ModelConfig
from remind.sources import load_source
from remind.sources.synthetic import (
    FusionFunction,
    SyntheticConfig,
    draw_latents,
    draw_present,
    draw_severity,
)


def groups(weights: list[list[float]], *, seed: int = 0, num: int = 120, moved: float = 0.0):
    """Groups of patients with 4 modalities, each with its own weights; group g lacks modality g.

    Patients of group g are moved by g times `moved` in their values and in their base rate.
    """
    rng = np.random.default_rng(seed)
    value_NM = rng.normal(size=(num * len(weights), 4))
    group_N = np.repeat(np.arange(len(weights)), num)
    value_NM += moved * group_N[:, None]
    present_NM = np.ones((len(value_NM), 4), dtype=bool)
    present_NM[group_N == 1, 3] = False
    logit_N = (value_NM * np.array(weights)[group_N] * present_NM).sum(1) - moved * group_N
    label_N = (rng.random(len(value_NM)) < expit(logit_N)).astype(int)
    features = make_features(value_NM[:, :, None], present_NM, label_N, 2)
    return features, label_N, [np.flatnonzero(group_N == g) for g in range(len(weights))]


def synthetic(kappa: float, seed: int):
    """Features of a synthetic cohort from its latents, and the rows of its six largest groups."""
    config = SyntheticConfig(
        num_patients=1000, num_modalities=5, num_combinations=6, tail=0.2, kappa=kappa, seed=seed
    )
    present_NM = draw_present(config)
    latent_NML = draw_latents(config, draw_severity(config, present_NM))
    optimum_N = expit(FusionFunction(config).logits(latent_NML, present_NM))
    label_N = (config.random("outcome").random(len(optimum_N)) < optimum_N).astype(int)
    value_NMR = np.concatenate([latent_NML, (latent_NML**2 - 1) / 2**0.5], axis=2)
    _, group_N = np.unique(present_NM, axis=0, return_inverse=True)
    rows = [np.flatnonzero(group_N.ravel() == g)[:130] for g in range(group_N.max() + 1)]
    return make_features(value_NMR, present_NM, label_N, 2), label_N, rows


def test_shift_is_found_between_the_groups_that_have_it() -> None:
    features, label_N, rows = groups([[2, 1, 0, 0.5], [2, 1, 0, 0], [0, -1, 2, 0.5]])
    shift = concept_shift(features, label_N, rows, permutations=99)
    assert shift.excess_GG.diagonal().tolist() == [0, 0, 0]
    assert shift.pairs[0, 1].common_M.tolist() == [True, True, True, False]
    assert shift.pairs[0, 1].p > 0.05
    for pair in (shift.pairs[0, 2], shift.pairs[1, 2]):
        assert pair.p == 0.01  # none of 99 permutations comes near
        assert min(pair.excess_a, pair.excess_b) > 0.05 > 5 * abs(shift.pairs[0, 1].excess)
    cluster_G, tree, leaves = cluster(shift)
    assert cluster_G[0] == cluster_G[1] != cluster_G[2]
    assert tree.shape == (2, 4)
    assert sorted(leaves) == [0, 1, 2]
    same = concept_shift(features, label_N, rows, permutations=99)
    np.testing.assert_array_equal(same.excess_GG, shift.excess_GG)


def test_other_patients_and_base_rates_are_no_shift() -> None:
    p, excess = [], []
    for seed in range(10):
        data = groups([[2, 1, 0, 0.5], [2, 1, 0, 0], [2, 1, 0, 0.5]], seed=seed, num=90, moved=0.5)
        shift = concept_shift(*data, permutations=39)
        p += [pair.p for pair in shift.pairs.values()]
        excess += [pair.excess for pair in shift.pairs.values()]
    assert 0.35 < np.mean(p) < 0.65
    assert (np.array(p) <= 0.1).mean() <= 0.25  # 3 of 30 are expected
    assert abs(np.mean(excess)) < 0.01


def test_excess_grows_with_kappa_and_is_zero_without() -> None:
    excess, p = {}, {}
    for kappa in (0.0, 0.5, 1.5):
        shifts = [concept_shift(*synthetic(kappa, s), permutations=19) for s in range(3)]
        pairs = [pair for shift in shifts for pair in shift.pairs.values()]
        excess[kappa] = np.mean([pair.excess for pair in pairs])
        p[kappa] = np.array([pair.p for pair in pairs])
    assert abs(excess[0.0]) < 0.01
    assert (p[0.0] <= 0.05).mean() < 0.2
    assert excess[1.5] > excess[0.5] > excess[0.0]
    assert excess[1.5] > 0.05
    assert (p[1.5] <= 0.05).mean() > 0.5


def test_common_modalities_can_be_given_and_may_be_missing() -> None:
    features, label_N, rows = groups([[1, 1, 1, 1], [1, 1, 1, 0]])
    only_M = np.array([True, False, False, False])
    shift = concept_shift(features, label_N, rows, common_M=only_M, permutations=9)
    assert shift.pairs[0, 1].common_M.tolist() == only_M.tolist()
    with pytest.raises(ValueError, match="observed in every group"):
        concept_shift(features, label_N, rows, common_M=~only_M, permutations=9)
    present_NM = features.present_NM.copy()
    present_NM[rows[0]] = [True, True, False, False]
    present_NM[rows[1]] = [False, False, True, False]
    apart = Features(
        score_QNM=features.score_QNM, component_NMR=features.component_NMR, present_NM=present_NM
    )
    shift = concept_shift(apart, label_N, rows, permutations=9)
    assert not shift.pairs
    assert np.isnan(shift.excess_GG[0, 1])
    assert len(cluster(shift)[0]) == 2


def test_many_classes_are_targets_one_by_one() -> None:
    rng = np.random.default_rng(0)
    value_NM = rng.normal(size=(400, 2))
    second = np.arange(400) >= 200
    turned_NM = np.where(second[:, None], value_NM[:, ::-1], value_NM)
    label_N = 1 + np.sign(np.round(turned_NM[:, 0])).astype(int)
    features = make_features(value_NM[:, :, None], np.ones((400, 2), bool), label_N, 3)
    assert features.score_QNM.shape == (3, 400, 2)
    rows = [np.flatnonzero(~second), np.flatnonzero(second)]
    shift = concept_shift(features, label_N, rows, permutations=19)
    assert shift.pairs[0, 1].p == 0.05
    halves = [np.arange(0, 200, 2), np.arange(1, 200, 2)]
    assert concept_shift(features, label_N, halves, permutations=19).pairs[0, 1].p > 0.05


def test_heads_are_ridge_logistic_regressions() -> None:
    rng = np.random.default_rng(0)
    x_NP = np.column_stack([np.ones(80), rng.normal(size=(80, 3))])
    y_N = (rng.random(80) < expit(x_NP @ [0.5, 1, -1, 0])).astype(float)
    weight_RN = rng.integers(0, 3, size=(2, 80)).astype(float)
    beta_RP = fit_heads(x_NP, y_N, weight_RN, np.zeros(4), 1.0)
    for beta_P, weight_N in zip(beta_RP, weight_RN, strict=True):
        oracle = LogisticRegression(C=1.0, tol=1e-10).fit(x_NP[:, 1:], y_N, weight_N)
        np.testing.assert_allclose(beta_P[1:], oracle.coef_[0], atol=2e-3)
        assert beta_P[0] == pytest.approx(oracle.intercept_[0], abs=2e-3)
    strong_P = fit_heads(x_NP, y_N, weight_RN[:1], np.array([0, 3.0, 0, 0]), 1e6)[0]
    np.testing.assert_allclose(strong_P[1:], [3, 0, 0], atol=1e-3)


def test_recalibration_forgets_level_and_spread_but_not_direction() -> None:
    rng = np.random.default_rng(1)
    logit_N = rng.normal(size=200)
    y_N = (rng.random(200) < expit(2 * logit_N + 1)).astype(float)
    weight_1N = np.ones((1, 200))
    (loss,) = recalibrated_loss(logit_N[None], y_N, weight_1N)
    (other,) = recalibrated_loss(0.1 * logit_N[None] - 7, y_N, weight_1N)
    (best,) = mean_loss(2 * logit_N[None] + 1, y_N, weight_1N)
    assert loss == pytest.approx(other, abs=1e-6)
    assert loss <= best + 1e-6
    rate = y_N.mean()
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    (turned,) = recalibrated_loss(-logit_N[None], y_N, weight_1N)
    assert turned == pytest.approx(entropy, abs=1e-3)  # no better than the base rate


def test_tokens_of_a_modality_do_not_change_when_others_are_masked() -> None:
    cohort = load_source("synthetic", num_patients=60, num_modalities=3)
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    encoded = encoding.transform(cohort)
    model = Model(encoding, 2, ModelConfig(width=8, members=2)).train()
    token_NMD = pooled_tokens(model.encoder, encoded, size=7)
    assert model.training
    assert (np.abs(token_NMD).sum(2) > 0).tolist() == encoded.present_NM.tolist()
    batch = encoded.batch(np.arange(60))
    masked_BM = batch.present_BM & torch.tensor([True, False, True])
    some = masked_BM.any(dim=1)
    tokens = model.encoder(batch.with_present(masked_BM))
    first = tokens.modality_T == 2
    np.testing.assert_allclose(
        token_NMD[tokens.owner_T[first], 2], tokens.x_TD[first].detach().numpy(), atol=1e-6
    )
    assert some.any()


def test_false_discoveries_and_combination() -> None:
    p_N = np.array([0.01, 0.04, 0.03, 0.5])
    np.testing.assert_allclose(false_discovery(p_N), [0.04, 0.16 / 3, 0.16 / 3, 0.5])
    assert combined(np.full(20, 0.5)) == pytest.approx(0.5)
    assert combined(np.array([1e-4] + [0.9] * 9)) < 0.01
    empty = ConceptShift(pairs={}, excess_GG=np.zeros((1, 1)), q=np.array([]))
    assert cluster(empty)[0].tolist() == [1]
