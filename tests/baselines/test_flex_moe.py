"""Flex-MoE: its equations on one patient after the other, its router, its penalty, its warm-up.

B patients, M modalities, T tokens, L tokens of one patient, D width, E experts; h heads.
"""

import math
import re
from collections import Counter
from dataclasses import replace
from statistics import NormalDist, fmean, pvariance
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from remind.baselines.flex_moe import (
    FLEX_MOE,
    FlexBlock,
    FlexMoE,
    FlexMoEConfig,
    combination_index,
    fewest_observed,
    hashing,
)
from remind.baselines.noisy_top_k import NoisyRouting, NoisyTopK
from remind.encoders import Tokens
from remind.errors import InputError
from tests.baselines import laws
from tests.baselines.make import (
    GivenTokens,
    make_model,
    random_batch,
    random_tokens,
    select,
    small_encoding,
)
from tests.fusion.reference import assert_same

CONFIG = FlexMoEConfig(
    width=8,
    embedding_rank=3,
    blocks=2,
    heads=2,
    experts=6,
    top_k=2,
    hidden=5,
    bank=16,
    dropout=0.0,
    balance=0.3,
    specialization=0.7,
)


@pytest.fixture
def no_noise(monkeypatch):
    """Training without noise in the router."""
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)


def plain_logits(model: FlexMoE, tokens: Tokens, present_BM: Tensor) -> Tensor:
    """Logits (B, C) without noise, one patient after the other."""
    rows = []
    for b, present_M in enumerate(present_BM):
        place, parts = [], []
        row = int(combination_index(present_M[None], model.config.bank))
        for m, is_there in enumerate(present_M.tolist()):
            own_TD = tokens.x_TD[(tokens.owner_T == b) & (tokens.modality_T == m)]
            own_TD = model.token_norm(own_TD) if is_there else model.bank_RMD[row, m][None]
            parts.append(own_TD)
            place += [m] * len(own_TD)
        x_LD, place_L = torch.cat(parts), torch.tensor(place)
        for block in model.blocks:
            assert isinstance(block, FlexBlock)
            x_LD = x_LD + plain_attention(block, block.attention_norm(x_LD))
            x_LD = x_LD + torch.stack([plain_mixture(block, h) for h in block.mixture_norm(x_LD)])
        x_LD = model.norm(x_LD)
        means = [x_LD[place_L == m].mean(0) for m in range(len(present_M))]
        rows.append(model.head(torch.cat(means)))
    return torch.stack(rows)


def plain_attention(block: FlexBlock, x_LD: Tensor) -> Tensor:
    """Scaled dot products of all tokens of one patient."""
    q, k, v = (
        z.unflatten(1, (2, -1)).transpose(0, 1) for z in block.attention.qkv(x_LD).chunk(3, 1)
    )
    weights_hLL = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
    return block.attention.out((weights_hLL @ v).transpose(0, 1).flatten(1))


def plain_mixture(block: FlexBlock, h_D: Tensor) -> Tensor:
    """The experts of the two largest logits, by the softmax of these two."""
    logits_E = h_D @ block.router.gate_DE
    first, second = sorted(range(6), key=lambda e: -float(logits_E[e].detach()))[:2]
    gate = torch.sigmoid(logits_E[first] - logits_E[second])
    w1, w2 = block.experts.w1_EDF, block.experts.w2_EHD
    outs = {e: F.gelu(h_D @ w1[e]) @ w2[e] for e in (first, second)}
    return gate * outs[first] + (1 - gate) * outs[second]


@pytest.mark.parametrize("dispatch", ["grouped", "loop"])
def test_the_model_is_its_equations(dispatch):
    """Logits and gradients, with several tokens per modality, in both ways of dispatch."""
    model = make_model(FlexMoE, replace(CONFIG, dispatch=dispatch))
    batch = random_batch(small_encoding())
    tokens = random_tokens(batch.present_BM, 8)
    model.encoder = GivenTokens(tokens)
    expected_BC = plain_logits(model, tokens, batch.present_BM)
    assert_same(model(batch).logits_BKC.squeeze(1), expected_BC, [tokens.x_TD, *model.parameters()])


def test_the_noise_is_normal_of_the_learned_size_and_in_training_only():
    """l = hW + eps (softplus(h W_n) + 0.01); gates are the softmax of the largest l."""
    torch.manual_seed(0)
    router, x_TD = NoisyTopK(4, 5, 2), torch.randn(20_000, 4)
    router.noise_DE.data.normal_()
    with torch.no_grad():
        routing = router(x_TD)
    torch.testing.assert_close(routing.clean_TE, x_TD @ router.gate_DE)
    torch.testing.assert_close(routing.scale_TE, (x_TD @ router.noise_DE).exp().log1p() + 0.01)
    eps_TE = (routing.noisy_TE - routing.clean_TE) / routing.scale_TE
    assert abs(float(eps_TE.mean())) < 0.02
    assert abs(float(eps_TE.std()) - 1) < 0.02
    torch.testing.assert_close(
        routing.gates_TK, routing.noisy_TE.sort(1, descending=True).values[:, :2].softmax(1)
    )
    torch.testing.assert_close(routing.gates_TE().gather(1, routing.index_TK), routing.gates_TK)
    assert torch.equal(router.eval()(x_TD).noisy_TE, router(x_TD).clean_TE)


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_the_load_is_the_chance_to_be_chosen_when_one_noise_is_drawn_again(top_k):
    """For every token and expert: above the k-th largest logit of the other experts."""
    torch.manual_seed(0)
    router = NoisyTopK(3, 4, top_k).double()
    routing = router(torch.randn(6, 3, dtype=torch.float64))
    expected_TE = plain_load(routing)
    torch.testing.assert_close(routing.load_TE(), expected_TE)
    assert top_k == 4 or float(expected_TE.std()) > 0.1


def plain_load(routing: NoisyRouting) -> Tensor:
    """P (T, E), one number after the other."""
    num_experts, top_k = routing.clean_TE.shape[1], routing.index_TK.shape[1]
    load_TE = torch.ones_like(routing.clean_TE.detach())
    assert routing.scale_TE is not None
    clean, noisy, scale = (
        x_TE.tolist() for x_TE in (routing.clean_TE, routing.noisy_TE, routing.scale_TE)
    )
    for t, noisy_E in enumerate(noisy):
        for e in range(num_experts):
            others = sorted(noisy_E[:e] + noisy_E[e + 1 :], reverse=True)
            if len(others) >= top_k:
                distance = clean[t][e] - others[top_k - 1]
                load_TE[t, e] = NormalDist().cdf(distance / scale[t][e])
    return load_TE


def watch(model: FlexMoE) -> list[NoisyRouting]:
    """A list that will hold what the routers of a model return."""
    found: list[Any] = []
    for router in model.modules():
        if isinstance(router, NoisyTopK):
            router.register_forward_hook(lambda part, given, out: found.append(out))
    return found


def plain_penalty(routing: NoisyRouting, expert_T: list[int], sides: dict[str, Any]) -> float:
    """Specialization and balance of one block, from their definitions."""
    log_prob = routing.clean_TE.log_softmax(1).tolist()
    losses = [-log_prob[t][expert_T[t]] for t in sides["incomplete"]]
    total = 0.7 * fmean(losses) if losses else 0.0
    for tokens in sides.values():
        for use_TE in (routing.gates_TE(), plain_load(routing)):
            use_E = use_TE[tokens].sum(0).tolist()
            total += 0.3 * pvariance(use_E) / fmean(use_E) ** 2 if tokens else 0.0
    return total


def test_what_combinations_are_hashed_to_is_said():
    """Only where they are more than there is for them."""
    config = replace(CONFIG, experts=6, bank=16)
    assert hashing(2, config) == ""
    assert hashing(4, config) == "the combinations of 4 modalities are hashed to 6 experts"
    assert hashing(9, config).endswith("hashed to 6 experts and 16 rows of the bank")
    assert make_model(FlexMoE, config).note == hashing(4, config)


@pytest.mark.parametrize("fewest", [0, 2, 4, 5])
def test_the_penalty_is_its_equation(fewest):
    """Complete and incomplete patients apart; in a warm-up, of those who teach; none in use."""
    model = make_model(FlexMoE, CONFIG).train()
    batch = random_batch(small_encoding())
    tokens = random_tokens(batch.present_BM, 8)
    model.encoder, model.fewest = GivenTokens(tokens), fewest
    found = watch(model)
    penalty = model(batch).penalty
    owner_T = model.fill(batch).owner_T.tolist()
    num_B = batch.present_BM.sum(1).tolist()
    sides = {
        "complete": [t for t, b in enumerate(owner_T) if num_B[b] == 4 >= fewest],
        "incomplete": [t for t, b in enumerate(owner_T) if fewest <= num_B[b] < 4],
    }
    expert_B = combination_index(batch.present_BM, 6).tolist()
    expected = [plain_penalty(routing, [expert_B[b] for b in owner_T], sides) for routing in found]
    assert len(found) == 2
    assert penalty.item() == pytest.approx(sum(expected), rel=1e-9)
    assert model.eval()(batch).penalty == 0


def test_a_combination_has_a_number_of_its_own_while_they_fit():
    """4 modalities have 16 places for 16 combinations; beyond that the hash, by plain numbers."""
    present_BM = torch.tensor([[b >> m & 1 for m in range(4)] for b in range(16)]).bool()
    assert sorted(combination_index(present_BM, 16).tolist()) == list(range(16))
    generator = torch.Generator().manual_seed(0)
    many_BM = torch.rand(3000, 40, generator=generator) < 0.4
    sums = [sum(16807**m for m, there in enumerate(row) if there) for row in many_BM.tolist()]
    index_B = combination_index(many_BM, 16)
    assert index_B.tolist() == [n % (2**31 - 1) % 16 for n in sums]
    counts = Counter(index_B.tolist())
    assert len(counts) == 16
    assert max(counts.values()) < 1.6 * min(counts.values())


def test_the_warm_up_lets_the_fullest_patients_in_first():
    """Thirds of 3, 2 and 1 modalities: in two epochs of warm-up the first, then two thirds."""
    present_GM = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 1]], dtype=bool)
    assert fewest_observed(present_GM, np.array([5, 5, 5]), 2) == [3, 2]
    assert fewest_observed(present_GM, np.array([1, 13, 1]), 2) == [3, 3]
    assert fewest_observed(present_GM, np.array([5, 5, 5]), 0) == []
    model = make_model(FlexMoE, replace(CONFIG, warmup_epochs=2))
    seen = []
    for epoch in range(4):
        model.on_epoch(epoch, 4)
        seen.append(model.fewest)
    assert seen == [4, 2, 0, 0]


def test_in_the_warm_up_only_fuller_patients_teach(no_noise):
    """Loss of everyone, gradient of the fuller below the classifier, penalty of them alone."""
    model = make_model(FlexMoE, CONFIG).train()
    batch = random_batch(small_encoding())
    teaches_B = batch.present_BM.sum(1) >= 3
    assert 0 < teaches_B.sum() < len(batch)
    logits_BKC, penalty = model(batch)
    fuller = model(select(batch, teaches_B.nonzero()[:, 0]))
    model.fewest = 3
    logits_warm_BKC, penalty_warm = model(batch)
    torch.testing.assert_close(logits_warm_BKC, logits_BKC)
    torch.testing.assert_close(penalty_warm, fuller.penalty)
    assert not torch.isclose(penalty_warm, penalty)
    below = [p for name, p in model.named_parameters() if not name.startswith("head")]
    warm = torch.autograd.grad(
        logits_warm_BKC.square().sum(), below, materialize_grads=True, retain_graph=True
    )
    taught = torch.autograd.grad(fuller.logits_BKC.square().sum(), below, materialize_grads=True)
    for got, want in zip(warm, taught, strict=True):
        torch.testing.assert_close(got, want)
    (head,) = torch.autograd.grad(logits_warm_BKC[~teaches_B].sum(), model.head.weight)
    assert head.abs().sum() > 0


def test_rows_of_the_bank_start_alike():
    """So a combination that training never met is filled as the others were at first."""
    bank_RMD = make_model(FlexMoE, CONFIG, shaken=False).bank_RMD
    assert torch.equal(bank_RMD, bank_RMD[:1].expand_as(bank_RMD))
    assert not torch.equal(bank_RMD[0, 0], bank_RMD[0, 1])


def test_the_laws_of_peers(no_noise):
    """Nothing unobserved is read, patients do not mix, no label is read, no parameter is dead."""
    model, batch = make_model(FlexMoE, CONFIG), random_batch(small_encoding())
    laws.check_unobserved_is_untouched(model, batch)
    laws.check_permutes(model, batch)
    laws.check_alone(model, batch)
    laws.check_labels_are_not_read(model, batch)
    laws.check_permutes(model.train(), batch)
    laws.check_unobserved_is_untouched(model, batch)


def test_gradient_reaches_every_parameter():
    """Also the noise of the router and the bank."""
    encoding = small_encoding()
    laws.check_gradients(make_model(FlexMoE, CONFIG), random_batch(encoding, 60))


def test_a_run_opens_again(tmp_path):
    """With more modalities than rows of the bank and experts, so that both are hashed."""
    laws.check_run(FLEX_MOE, tmp_path, "width=16", "experts=4", "bank=3", "warmup_epochs=1")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"top_k": 7}, "top_k must be in 1..6, got 7"),
        ({"heads": 3}, "heads must divide width 8, got 3"),
        ({"bank": 0}, "bank must be a whole number >= 1, got 0"),
        ({"balance": -1}, "balance must be a number >= 0, got -1"),
        ({"specialization": math.nan}, "specialization must be a number >= 0, got nan"),
        ({"warmup_epochs": -1}, "warmup_epochs must be a whole number >= 0, got -1"),
        (
            {"dispatch": "group"},
            """dispatch must be "grouped" or "loop", got 'group'; did you mean "grouped"?""",
        ),
    ],
)
def test_wrong_values_are_refused(change, sentence):
    """The error is one sentence that names the value and what it may be."""
    with pytest.raises(InputError, match="^" + re.escape(sentence) + "$"):
        replace(CONFIG, **change)
