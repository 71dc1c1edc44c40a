"""FuseMoE: its equations on one patient after the other, for every router, gate and dispatch.

B patients, M modalities, D width, E experts, K = 2 experts per input.
"""

import math
import re
from dataclasses import replace
from itertools import product
from statistics import NormalDist, fmean, pvariance

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from remind.baselines.fuse_moe import (
    FUSE_MOE,
    GATES,
    ROUTERS,
    FuseBlock,
    FuseMoE,
    FuseMoEConfig,
    entropy_loss,
    gate_logits,
)
from remind.encoders import Tokens
from remind.errors import InputError
from tests.baselines import laws
from tests.baselines.make import (
    GivenTokens,
    make_model,
    random_batch,
    random_tokens,
    small_encoding,
)
from tests.fusion.reference import assert_same

CONFIG = FuseMoEConfig(
    width=8,
    embedding_rank=3,
    blocks=2,
    router="per_modality",
    experts=5,
    top_k=2,
    hidden=6,
    dropout=0.0,
    entropy=0.3,
)
CONFIGS = [replace(CONFIG, router=router, gate=gate) for router, gate in product(ROUTERS, GATES)]


@pytest.fixture(params=CONFIGS, ids=lambda c: f"{c.router}-{c.gate}")
def config(request) -> FuseMoEConfig:
    """Every router with every gate."""
    return request.param


def plain_logits(model: FuseMoE, tokens: Tokens, present_BM: Tensor) -> Tensor:
    """Logits (B, C), one patient after the other."""
    rows = []
    for b, present_M in enumerate(present_BM.tolist()):
        x_MD = []
        for m, is_there in enumerate(present_M):
            own_TD = tokens.x_TD[(tokens.owner_T == b) & (tokens.modality_T == m)]
            x_MD.append(model.token_norm(own_TD.mean(0)) if is_there else model.missing_MD[m])
        for block in model.blocks:
            assert isinstance(block, FuseBlock)
            y_MD = plain_mixture(block, [block.norm(x_D) for x_D in x_MD])
            x_MD = [x_D + y_D for x_D, y_D in zip(x_MD, y_MD, strict=True)]
        rows.append(model.head(torch.cat([model.norm(x_D) for x_D in x_MD])))
    return torch.stack(rows)


def plain_mixture(block: FuseBlock, h_MD: list[Tensor]) -> list[Tensor]:
    """What a block adds to every modality of one patient."""
    router, num_modalities = block.config.router, len(h_MD)
    if router == "joint":
        return list(plain_experts(block, torch.cat(h_MD), 0, 0).chunk(num_modalities))
    firsts = [5 * m if router == "disjoint" else 0 for m in range(num_modalities)]
    outs_MD = [plain_experts(block, h_MD[m], m, firsts[m]) for m in range(num_modalities)]
    return [torch.stack(outs_MD).sum(0)] * num_modalities


def plain_experts(block: FuseBlock, h_X: Tensor, router: int, first: int) -> Tensor:
    """The two experts of the largest gate logits, by the softmax of these two."""
    logits = [plain_gate(h_X, w_X, block.config.gate) for w_X in block.w_REX[router]]
    best = sorted(range(5), key=lambda e: -float(logits[e].detach()))[:2]
    gates_K = torch.stack([logits[e] for e in best]).softmax(0)
    w1, w2 = block.experts.w1_EDF[first:], block.experts.w2_EHD[first:]
    outs = [F.gelu(h_X @ w1[e]) @ w2[e] for e in best]
    return gates_K[0] * outs[0] + gates_K[1] * outs[1]


def plain_gate(h_X: Tensor, w_X: Tensor, gate: str) -> Tensor:
    """The logit of one expert."""
    return -(h_X - w_X).square().sum().sqrt() if gate == "laplace" else (h_X * w_X).sum()


@pytest.mark.parametrize("dispatch", ["grouped", "loop"])
def test_the_model_is_its_equations(config, dispatch):
    """Logits and gradients, with several tokens per modality, in both ways of dispatch."""
    model = make_model(FuseMoE, replace(config, dispatch=dispatch))
    batch = random_batch(small_encoding())
    tokens = random_tokens(batch.present_BM, 8)
    model.encoder = GivenTokens(tokens)
    expected_BC = plain_logits(model, tokens, batch.present_BM)
    assert_same(model(batch).logits_BKC.squeeze(1), expected_BC, [tokens.x_TD, *model.parameters()])


def test_the_entropy_loss_is_its_equation():
    """Mean entropy minus entropy of the mean, and both its ends."""
    probs_ME = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
    mean_entropy = (0.5 * math.log(2) + 2 * 0.25 * math.log(4)) / 2
    of_mean = -0.75 * math.log(0.75) - 2 * 0.125 * math.log(0.125)
    assert float(entropy_loss(probs_ME)) == pytest.approx(mean_entropy - of_mean)
    assert float(entropy_loss(probs_ME[:1].repeat(4, 1))) == pytest.approx(0, abs=1e-6)
    assert float(entropy_loss(torch.eye(4))) == pytest.approx(-math.log(4))


def test_the_penalty_is_of_mean_gate_distributions_per_modality(config):
    """Weighted, summed over blocks, in training only; the other routers have none."""
    model, batch = make_model(FuseMoE, config).train(), random_batch(small_encoding())
    inputs: list[Tensor] = []
    for block in model.blocks:
        block.norm.register_forward_hook(lambda part, given, out: inputs.append(out))
    penalty = model(batch).penalty
    expected = 0.0
    for block, h_BMD in zip(model.blocks, inputs, strict=True):
        if config.router == "per_modality":
            logits = [
                torch.stack([plain_gate(h, w, config.gate) for h in h_BMD[:, m] for w in w_EX])
                for m, w_EX in enumerate(block.w_REX)
            ]
            p_ME = torch.stack([x.view(-1, 5).softmax(1).mean(0) for x in logits])
            each = torch.distributions.Categorical(p_ME).entropy().mean()
            whole = torch.distributions.Categorical(p_ME.mean(0)).entropy()
            expected += 0.3 * (each - whole).item()
    assert penalty.item() == pytest.approx(expected, abs=1e-12)
    assert (expected < -1e-3) == (config.router == "per_modality")
    assert model.eval()(batch).penalty == 0


@pytest.mark.parametrize("noise", [False, True])
def test_the_balance_is_that_of_every_router(config, noise, monkeypatch):
    """CV² of the gates' sums and of the load; noise has the size softplus(h W_n) + 0.01."""
    config = replace(config, entropy=0.0, balance=0.3, noise=noise)
    model, batch = make_model(FuseMoE, config).train(), random_batch(small_encoding())
    inputs, drawn = [], []
    monkeypatch.setattr(
        torch, "randn_like", lambda x: drawn.append(torch.randn(x.shape).to(x)) or drawn[-1]
    )
    for block in model.blocks:
        block.norm.register_forward_hook(lambda part, given, out: inputs.append(out.detach()))
    penalty = model(batch).penalty
    assert len(drawn) == (2 if noise else 0)
    expected = 0.0
    for number, (block, h_BMD) in enumerate(zip(model.blocks, inputs, strict=True)):
        h_RBX = [h_BMD.flatten(1)] if config.router == "joint" else h_BMD.unbind(1)
        for router, (h_BX, w_EX) in enumerate(zip(h_RBX, block.w_REX.detach(), strict=True)):
            gates_BE, load_BE = [], []
            for b, h_X in enumerate(h_BX):
                clean_E = torch.stack([plain_gate(h_X, w_X, config.gate) for w_X in w_EX])
                noisy_E = scale_E = clean_E
                if noise:
                    scale_E = (h_X @ block.noise_RXE[router].detach()).exp().log1p() + 0.01
                    noisy_E = clean_E + drawn[number][router * len(h_BX) + b] * scale_E
                gates_E, load_E = plain_use(clean_E, noisy_E, scale_E, noise)
                gates_BE.append(gates_E)
                load_BE.append(load_E)
            for use_BE in (gates_BE, load_BE):
                sum_E = [sum(column) for column in zip(*use_BE, strict=True)]
                expected += 0.3 * pvariance(sum_E) / fmean(sum_E) ** 2
    assert penalty.item() == pytest.approx(expected, rel=1e-9)
    first, again = model.eval()(batch), model(batch)
    assert torch.equal(first.logits_BKC, again.logits_BKC)
    assert first.penalty == 0


def plain_use(
    clean_E: Tensor, noisy_E: Tensor, scale_E: Tensor, noise: bool
) -> tuple[list[float], list[float]]:
    """Gates of an input, and its chance to go to each expert if that one's noise is drawn again."""
    best = noisy_E.argsort(descending=True)[:2].tolist()
    top = noisy_E[best].softmax(0).tolist()
    gates = [top[best.index(e)] if e in best else 0.0 for e in range(len(noisy_E))]
    if not noise:
        return gates, [float(e in best) for e in range(len(noisy_E))]
    load = []
    for e in range(len(noisy_E)):
        second = sorted(x for other, x in enumerate(noisy_E.tolist()) if other != e)[-2]
        load.append(NormalDist().cdf((float(clean_E[e]) - second) / float(scale_E[e])))
    return gates, load


def test_gates_start_by_direction():
    """Laplace experts start at equal norm, so those of a router are equally near to the origin."""
    w_REX = make_model(FuseMoE, CONFIG, shaken=False).blocks[0].w_REX
    torch.testing.assert_close(w_REX.norm(dim=-1), torch.full((4, 5), 8**0.5).double())
    at_expert = gate_logits(w_REX, w_REX, "laplace")
    assert torch.equal(at_expert.argmax(-1), torch.arange(5).expand(4, 5))


def test_the_laws_of_peers(config):
    """Nothing unobserved is read, patients do not mix, no label is read."""
    model, batch = make_model(FuseMoE, config), random_batch(small_encoding())
    laws.check_alone(model, batch)
    laws.check_labels_are_not_read(model, batch)
    laws.check_permutes(model.train(), batch)
    laws.check_unobserved_is_untouched(model, batch)


@pytest.mark.parametrize("noise", [False, True])
def test_gradient_reaches_every_parameter(config, noise):
    """Also the gates of every router, and the size of the noise if there is any."""
    config = replace(config, noise=noise, balance=0.1)
    laws.check_gradients(make_model(FuseMoE, config), random_batch(small_encoding(), 60))


@pytest.mark.parametrize("router", ROUTERS)
def test_a_run_opens_again(tmp_path, router):
    """From the command line's settings, with the same predictions."""
    laws.check_run(FUSE_MOE, tmp_path, f"router={router}", "width=16", "experts=4", "hidden=16")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"top_k": 6}, "top_k must be in 1..5, got 6"),
        ({"experts": 0}, "experts must be a whole number >= 1, got 0"),
        ({"entropy": -1}, "entropy must be a number >= 0, got -1"),
        ({"balance": -1}, "balance must be a number >= 0, got -1"),
        ({"noise": 1}, "noise must be true or false, got 1"),
        ({"gate": "laplce"}, """gate must be "laplace" or "softmax", got 'laplce'; did you"""),
        (
            {"router": "shared"},
            """router must be "joint" or "per_modality" or "disjoint", got 'shared'""",
        ),
    ],
)
def test_wrong_values_are_refused(change, sentence):
    """The error is one sentence that names the value and what it may be."""
    with pytest.raises(InputError, match="^" + re.escape(sentence)):
        replace(CONFIG, **change)
