"""Gradient consistency: laws of the cosines, the sketch's error, and what chance does."""

# N patients, G groups, P numbers of a gradient

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from remind.analyses import Options, gradient_consistency
from remind.analyses.association import rank_correlation
from remind.analyses.families import families_of
from remind.analyses.gradients import chance
from remind.analyses.gradients_of_run import initial_model
from remind.analyses.sketch import Projection
from remind.cohort import Encoding
from remind.fusion import Model, ModelConfig
from remind.methods import METHODS
from remind.sources import load_source
from remind.training import fit_run, with_overrides


class Data:
    """Patients with 6 numbers and a label; a model, and its losses."""

    def __init__(self, num: int = 300, *, seed: int = 0, width: int = 5) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.x_ND = torch.randn(num, 6, generator=generator)
        self.y_N = (torch.randn(num, generator=generator) + self.x_ND[:, 0] > 0).float()
        self.group_N = np.arange(num) ** 2 % 7
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, 1))
        self.scale = 1.0

    def batch(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        return self.x_ND[rows], self.y_N[rows]

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        logit_B = self.model(batch[0])[:, 0]
        return self.scale * nn.functional.binary_cross_entropy_with_logits(
            logit_B, batch[1], reduction="none"
        )

    def compare(self, **options: Any):
        return gradient_consistency(
            self.model, self.loss, self.batch, self.group_N, sample=60, **options
        )


def flat_gradient(data: Data, rows: np.ndarray) -> np.ndarray:
    grads = torch.autograd.grad(data.loss(data.batch(rows)).mean(), list(data.model.parameters()))
    return np.concatenate([g.flatten().numpy() for g in grads]).astype(np.float64)


def test_cosines_are_those_of_the_mean_gradients() -> None:
    data = Data()
    result = data.compare()
    overall_P = flat_gradient(data, np.arange(300))
    gradient_GP = np.stack(
        [flat_gradient(data, np.flatnonzero(data.group_N == g)) for g in result.group_G]
    )
    unit_GP = gradient_GP / np.linalg.norm(gradient_GP, axis=1, keepdims=True)
    expected_G = unit_GP @ overall_P / np.linalg.norm(overall_P)
    np.testing.assert_allclose(result.cosine_G, expected_G, atol=1e-5)
    np.testing.assert_allclose(result.matrix(), unit_GP @ unit_GP.T, atol=1e-5)
    np.testing.assert_allclose(result.overall_P, overall_P, atol=1e-6)
    # … and the overall gradient is the mean of the groups', weighted by their patients.
    np.testing.assert_allclose(result.n_G @ gradient_GP / 300, overall_P, atol=1e-6)


def test_neither_scale_nor_order_of_patients_counts_and_equal_groups_agree() -> None:
    data = Data()
    data.x_ND[150:], data.y_N[150:] = data.x_ND[:150].clone(), data.y_N[:150].clone()
    data.group_N[150:] = data.group_N[:150] + 10
    first = data.compare()
    twins = first.matrix()[np.arange(len(first.group_G) // 2), len(first.group_G) // 2 :]
    np.testing.assert_allclose(np.diag(twins), 1.0, atol=1e-6)
    order_N = np.random.default_rng(0).permutation(300)
    data.x_ND, data.y_N, data.group_N = (v[order_N] for v in (data.x_ND, data.y_N, data.group_N))
    data.scale = 1000.0
    np.testing.assert_allclose(data.compare().cosine_G, first.cosine_G, atol=1e-5)


def test_long_groups_take_several_backward_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Data()
    whole = data.compare().cosine_G
    monkeypatch.setattr("remind.analyses.gradients.CHUNK", 7)
    np.testing.assert_allclose(data.compare().cosine_G, whole, atol=1e-5)


def test_sketch_keeps_its_bound_against_exact_cosines() -> None:
    data = Data(width=400)
    data.group_N = np.arange(300) % 60
    exact, dims = data.compare(), 512
    bound = Projection([1], dims, 0).bound(0.05)
    errors = []
    for seed in range(4):
        result = data.compare(dims=dims, seed=seed)
        assert result.vector_GQ.shape == (60, dims)
        errors.append((result.matrix() - exact.matrix())[np.triu_indices(60, 1)])
        errors.append(result.cosine_G - exact.cosine_G)
    error = np.concatenate(errors)
    assert (np.abs(error) > bound).mean() <= 0.05
    assert 0.2 / dims**0.5 < np.sqrt((error**2).mean()) <= (2 / dims) ** 0.5
    assert abs(error.mean()) < 0.01  # unbiased


def test_sketch_is_linear_and_unbiased_over_seeds() -> None:
    u_P, v_P = torch.randn(2, 50, generator=torch.Generator().manual_seed(1))
    sketch = Projection([20, 30], 8, 3)
    torch.testing.assert_close(sketch(u_P + 2 * v_P), sketch(u_P) + 2 * sketch(v_P))
    u_P[20:] = 0  # parts stay apart
    assert not sketch(u_P)[8:].any()
    assert sketch(u_P)[:8].any()
    inner = [float(s(u_P) @ s(v_P)) for s in (Projection([20, 30], 8, k) for k in range(3000))]
    scale = float(u_P.norm() * v_P.norm())
    assert np.mean(inner) == pytest.approx(float(u_P @ v_P), abs=4 * scale * (2 / 8 / 3000) ** 0.5)
    assert np.std(inner) <= scale * (2 / 8) ** 0.5
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        Projection([3], 6, 0)


def test_random_groups_are_as_consistent_as_chance_and_an_odd_one_is_not() -> None:
    num_below, pooled = 0, []
    for seed in range(6):
        data = Data(400, seed=seed)
        data.group_N = np.random.default_rng(seed).integers(40, size=400)
        result = data.compare(seed=seed)
        num_below += int((result.below_G <= 0.05).sum())
        pooled.append(result.cosine_G - result.expected_G)
    assert num_below <= 24  # 12 of 240 are expected; more than 24 have probability 0.001
    assert abs(np.concatenate(pooled).mean()) < 0.06
    data.y_N[data.group_N == 3] = 1 - data.y_N[data.group_N == 3]
    data.x_ND[data.group_N == 3, 0] *= 3
    odd = data.compare()
    assert odd.cosine_G[3] < odd.range_G2[3, 0]
    assert odd.below_G[3] <= 0.01


def test_chance_is_that_of_draws_without_replacement() -> None:
    rng = np.random.default_rng(0)
    own_NQ = rng.normal(0.3, 1, size=(200, 9))
    overall_Q = own_NQ.mean(axis=0)
    sizes = np.array([10, 50, 140])
    draws = chance(torch.from_numpy(own_NQ), torch.from_numpy(overall_Q), sizes, rng)
    for n in sizes.tolist():
        mean_RQ = np.stack([own_NQ[rng.permutation(200)[:n]].mean(axis=0) for _ in range(2000)])
        lengths_R = np.linalg.norm(mean_RQ, axis=1) * np.linalg.norm(overall_Q)
        direct_R = mean_RQ @ overall_Q / lengths_R
        assert draws[n].mean() == pytest.approx(direct_R.mean(), abs=0.03)
        assert 1 - np.quantile(draws[n], 0.05) == pytest.approx(
            1 - np.quantile(direct_R, 0.05), rel=0.2
        )
    whole = chance(torch.from_numpy(own_NQ), torch.from_numpy(overall_Q), np.array([200]), rng)
    np.testing.assert_allclose(whole[200], 1)


def test_a_zero_gradient_has_no_cosine() -> None:
    data = Data()
    loss = data.loss
    data.loss = lambda batch: loss(batch) * (batch[0][:, 0] != 77)
    data.x_ND[data.group_N == 0, 0] = 77
    result = data.compare()
    assert np.isnan(result.cosine_G).tolist() == [True] + [False] * 3
    assert np.isnan(result.matrix()[0]).all()


def test_families_hold_every_shared_parameter_once() -> None:
    cohort = load_source("synthetic", num_patients=60, num_modalities=3)
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    for config in (
        ModelConfig(width=8, members=2),
        ModelConfig(width=8, fusion="transformer", group_pooling=False, mixture="soft", experts=4),
    ):
        model = Model(encoding, 2, config)
        families = families_of(model)
        ids = [id(p) for family in families for p in family.parameters]
        own = [n for n, _ in model.named_parameters() if n.endswith(("delta_GR", "residual_GDE"))]
        assert own
        assert len(set(ids)) == len(ids) == len(list(model.parameters())) - len(own)
        middle = "pooling" if config.fusion == "ensemble" else "attention"
        assert {f.name for f in families} == {"encoder", "router", middle, "experts", "head"}
    assert [f.name for f in families_of(Data().model)] == ["other"]


def test_initial_model_is_where_training_began() -> None:
    cohort = load_source("synthetic", num_patients=200, num_modalities=3)
    method = METHODS["transformer"]
    small = ["epochs=1", "width=8", "lr=1e-30", "weight_decay=0", "device=cpu", "seed=4"]
    run = fit_run(cohort, method, with_overrides(method.default_settings(), small))
    initial = initial_model(run)
    assert initial is not None
    for name, parameter in run.predictor.model.named_parameters():  # pyright: ignore
        torch.testing.assert_close(parameter, initial.get_parameter(name))


def test_rank_correlation_has_an_interval_and_none_where_undefined() -> None:
    x_N = np.arange(40.0)
    y_N = x_N + np.random.default_rng(0).normal(0, 8, 40)
    block = rank_correlation(np.r_[x_N, np.nan], np.r_[y_N, 0], Options())
    assert block["n"] == 40
    assert block["ci"][0] < block["rho"] < block["ci"][1] <= 1
    assert block["ci"][0] > 0.3
    assert block["p"] < 1e-3
    assert rank_correlation(x_N[:4], y_N[:4], Options())["rho"] is None
    assert rank_correlation(x_N, np.ones(40), Options())["ci"] is None
