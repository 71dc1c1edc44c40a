"""Routing: laws of information and balance, and what is read off a real mixture."""

# N patients, G groups, E experts, M modalities

from typing import Any

import numpy as np
import pytest
import torch

from remind.analyses import Options, routes
from remind.analyses.association import mantel
from remind.analyses.routing import (
    effective,
    group_gates,
    information,
    information_by_chance,
    jaccard,
    overlap,
    specialisation,
)
from remind.cohort import Encoded, Encoding
from remind.fusion import Model, ModelConfig, SoftGroupMoE
from remind.fusion.moe import GroupMoE
from remind.sources import load_source


def build(**config: object) -> tuple[Model, Encoded]:
    """A small model with all parameters random, and its patients."""
    cohort = load_source("synthetic", num_patients=90, num_modalities=4)
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    torch.manual_seed(0)
    model = Model(
        encoding, 2, ModelConfig(width=16, members=1, hidden=8, activation="silu", **config)
    )  # pyright: ignore
    for name, parameter in model.fusion.named_parameters():
        is_routing = any(part in name for part in ("router", "residual", "mixture.scale"))
        torch.nn.init.normal_(parameter, std=2.0 if is_routing else 0.3)
    return model.eval(), encoding.transform(cohort)


def look(model: Model, encoded: Encoded, size: int = 90):
    rows = np.arange(len(encoded))
    batches = [encoded.batch(rows[start : start + size]) for start in range(0, len(rows), size)]
    (found,) = routes(model, model, batches)
    return found


def test_information_is_zero_for_blind_routing_and_log_of_groups_for_owned_experts() -> None:
    n_G = np.array([30, 10, 5])
    blind_GE = np.tile([0.5, 0.2, 0.3, 0.0], (3, 1))
    assert information(blind_GE, n_G) == pytest.approx(0, abs=1e-12)
    owned_GE = np.eye(3)
    share_G = n_G / n_G.sum()
    assert information(owned_GE, n_G) == pytest.approx(-(share_G * np.log(share_G)).sum())
    np.testing.assert_allclose(specialisation(owned_GE, n_G), -np.log(share_G))
    np.testing.assert_allclose(effective(np.array([[0.25] * 4, [1, 0, 0, 0]])), [4, 1])


def test_chance_is_what_small_groups_make_of_blind_routing() -> None:
    rng = np.random.default_rng(0)
    gates_NE = rng.dirichlet(np.ones(4), size=400)
    group_N = rng.integers(80, size=400)
    n_G = np.bincount(group_N)
    raw = information(group_gates(gates_NE, group_N, 80), n_G)
    chance_R = information_by_chance(gates_NE, group_N, 200, rng)
    assert raw > 0.05  # far from zero though the group says nothing
    assert abs(raw - chance_R.mean()) < 3 * chance_R.std()


def test_overlap_and_jaccard_and_their_mantel_test() -> None:
    patterns_GM = np.random.default_rng(0).random((30, 6)) < 0.5
    patterns_GM[:, 0] = True
    alike_GG = jaccard(patterns_GM)
    assert (
        alike_GG[0, 1]
        == (patterns_GM[0] & patterns_GM[1]).sum() / (patterns_GM[0] | patterns_GM[1]).sum()
    )
    gates_GE = patterns_GM / patterns_GM.sum(1, keepdims=True)
    close_GG = overlap(gates_GE)
    np.testing.assert_allclose(close_GG.diagonal(), 1)
    assert close_GG[0, 1] == pytest.approx(np.minimum(gates_GE[0], gates_GE[1]).sum())
    found = mantel(close_GG, alike_GG, Options(), permutations=99)
    assert found["rho"] > 0.8
    assert found["p"] == 0.01
    shuffled = np.random.default_rng(1).permutation(30)
    other = mantel(close_GG[np.ix_(shuffled, shuffled)], alike_GG, Options(), permutations=99)
    assert other["p"] > 0.05
    assert mantel(close_GG[:3, :3], alike_GG[:3, :3], Options())["rho"] is None


@pytest.mark.parametrize(
    "config",
    [
        {"experts": 5, "top_k": 2},
        {"experts": 5, "top_k": 1, "gate": "shared", "fusion": "transformer"},
        {"experts": 6, "mixture": "soft", "gate": "group", "fusion": "transformer"},
    ],
)
def test_routes_are_the_gates_that_the_model_uses(config: dict[str, object]) -> None:
    model, encoded = build(**{"group_pooling": "fusion" not in config, **config})
    model.on_epoch(1, 2)
    batch = encoded.batch(np.arange(len(encoded)))
    before = model(batch).logits_BKC
    found = look(model, encoded)
    assert torch.equal(model(batch).logits_BKC, before)  # looking changes nothing
    np.testing.assert_allclose(found.gates_NE.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(look(model, encoded, size=13).gates_NE, found.gates_NE, atol=1e-5)
    assert found.shift_N.min() >= 0
    assert found.shift_N.mean() > 0.01
    has_gate = config.get("gate", "none") != "none"
    assert (found.alpha_N is not None) == has_gate
    if has_gate:
        assert found.alpha_N is not None
        assert 0 <= found.alpha_N.min() < found.alpha_N.max() <= 1 + 1e-6
    inputs: list[tuple[Any, ...]] = []
    mixture = next(m for m in model.modules() if isinstance(m, GroupMoE | SoftGroupMoE))
    with mixture.register_forward_pre_hook(lambda _, given: inputs.append(given)):
        model(batch)
    routed = mixture.route(*inputs[0])
    probs_TE = routed if isinstance(routed, torch.Tensor) else routed.probs_TE
    torch.testing.assert_close(mixture.terms(*inputs[0]).logits_TE.softmax(-1), probs_TE)
    # An expert that is made louder is noticed by those who use it, and by nobody else.
    with torch.no_grad():
        mixture.experts.w2_EHD[0] *= 50
    changed_N = (model(batch).logits_BKC - before).detach().abs().amax((1, 2)).numpy() > 0
    assert changed_N.any()
    assert not (changed_N & (found.gates_NE[:, 0] == 0)).any()
    if "fusion" not in config:  # there every token counts, in the other only the readout
        assert not (~changed_N & (found.gates_NE[:, 0] > 1e-3)).any()
        assert not changed_N.all()


def test_routing_without_a_group_code_is_not_moved_by_the_group() -> None:
    model, encoded = build(experts=4, rank=0, group_pooling=False)
    found = look(model, encoded)
    assert not found.shift_N.any()
    assert found.alpha_N is None
    soft, encoded = build(
        experts=4, mixture="soft", gate="shared", fusion="transformer", group_pooling=False
    )
    soft.on_epoch(0, 2)  # first stage: no residuals yet
    found = look(soft, encoded)
    assert not found.shift_N.any()
    assert found.alpha_N is None


def test_a_model_without_mixture_has_no_routes() -> None:
    model, encoded = build(mixture="none", fusion="transformer", group_pooling=False)
    assert routes(model, model, [encoded.batch(np.arange(9))]) == []
