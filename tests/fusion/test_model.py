"""The model from batch to logits: laws that hold for every fusion and every mixture.

B patients, M modalities, D width, L tokens of a padded patient, G training groups.
"""

import re
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from remind.cohort import Batch, Encoding, Groups, VectorModality, VectorSchema
from remind.errors import InputError
from remind.fusion import FusionModel, GroupContext, Output, ensemble
from remind.fusion.config import FUSIONS, MIXTURES, ModelConfig
from remind.fusion.heads import classify
from remind.fusion.model import Model
from remind.fusion.moe import SoftGroupMoE
from remind.fusion.transformer import TransformerFusion
from tests.encoders.make import (
    MODALITIES,
    random_batch,
    random_presence,
    select,
    spoil_unobserved,
    tabular_schema,
    vector_schema,
)
from tests.fusion.reference import assert_same, gradients, padded_transformer

SMALL = ModelConfig(
    width=8,
    embedding_rank=3,
    members=3,
    group_pooling=False,
    heads=2,
    experts=4,
    hidden=6,
    rank=2,
    layers=1,
    blocks=2,
)
CONFIGS = [
    replace(SMALL, fusion=fusion, mixture=mixture) for fusion, mixture in product(FUSIONS, MIXTURES)
]
CONFIGS.append(replace(SMALL, group_pooling=True))
PATTERNS = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]], dtype=bool)
GROUPS = Groups.fit(PATTERNS.repeat([9, 5, 2, 1], axis=0), MODALITIES)


def encoding(groups: Groups = GROUPS) -> Encoding:
    """Two tabular and two vector modalities."""
    schemas = {"tabular": tabular_schema(), "vector": vector_schema()}
    return Encoding(modalities=MODALITIES, classes=("0", "1", "2"), groups=groups, schemas=schemas)


def make(config: ModelConfig, *, shaken: bool = True, of: Encoding | None = None) -> Model:
    """A float64 model without dropout and with its residuals on, its zeros filled if ``shaken``."""
    torch.manual_seed(0)
    model = Model(of or encoding(), 3, config).double().eval()
    model.on_epoch(1, 2)
    if shaken:
        for parameter in model.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def patients(num_patients: int = 12, seed: int = 0) -> Batch:
    """Patients of seen and unseen combinations, with one who is observed in nothing."""
    present_BM = random_presence(num_patients, seed)
    present_BM[:4], present_BM[4] = torch.from_numpy(PATTERNS), False
    return random_batch(present_BM, seed, GROUPS)


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture(
    params=CONFIGS, ids=lambda c: f"{c.fusion}-{c.mixture}" + "-pooling" * c.group_pooling
)
def config(request) -> ModelConfig:
    """Every fusion with every mixture."""
    return request.param


def test_gradient_reaches_every_parameter(config):
    """No part of the model is dead, in the logits or in the penalty."""
    model = make(config)
    out = model(patients(60))
    result = torch.cat([out.logits_BKC.flatten(), out.penalty[None]])
    names = [name for name, _ in model.named_parameters()]
    found = zip(names, gradients(result, list(model.parameters())), strict=True)
    assert [name for name, gradient in found if not gradient.abs().sum() > 0] == []


def test_what_was_not_observed_cannot_matter(config):
    """Rubbish in unobserved modalities changes no prediction, no penalty and no gradient."""
    model, batch = make(config), patients()
    out, spoilt = model(batch), model(spoil_unobserved(batch))
    assert torch.equal(spoilt.logits_BKC, out.logits_BKC)
    assert torch.equal(spoilt.penalty, out.penalty)
    assert_same(spoilt.logits_BKC, out.logits_BKC, list(model.parameters()))


def test_the_penalty_is_the_sum_over_parts(config):
    """Every block's mixture counts, and group pooling; only what knows groups adds something."""
    model, found = make(config), []
    for block in model.fusion.blocks:
        block.mixture.register_forward_hook(lambda part, given, out: found.append(out.penalty))
    if config.group_pooling:
        model.fusion.factors.register_forward_hook(lambda part, given, out: found.append(out[1]))
    penalty = model(patients()).penalty
    torch.testing.assert_close(penalty, torch.stack(found).sum())
    assert len(found) == config.blocks + config.group_pooling
    assert (min(found) > 0) == (config.mixture == "group")


def test_a_patient_does_not_depend_on_the_batch(config):
    """Another order gives another order, and a batch of one gives its row of the big batch."""
    model, batch = make(config), patients()
    logits_BKC = model(batch).logits_BKC
    assert logits_BKC.shape == (12, 3 if config.fusion == "ensemble" else 1, 3)
    order_B = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(select(batch, order_B)).logits_BKC, logits_BKC[order_B])
    alone = [model(select(batch, torch.tensor([b]))).logits_BKC for b in range(12)]
    torch.testing.assert_close(torch.cat(alone), logits_BKC)
    assert model(select(batch, torch.arange(0))).logits_BKC.shape == (0, *logits_BKC.shape[1:])


def test_the_order_of_modalities_is_a_matter_of_names(config):
    """Other places for the modalities, with their parameters moved along: the same predictions."""
    place_M = torch.tensor([1, 0, 3, 2])  # tabular ones stay in order, as the schema lists them
    inverse_M = place_M.argsort()
    old = encoding()
    tabular, vector = (
        replace(
            schema,
            **{
                part: tuple(
                    replace(item, **{axis: int(place_M[getattr(item, axis)])})
                    for item in getattr(schema, part)
                )
            },
        )
        for schema, part, axis in (
            (old.schemas["tabular"], "columns", "modality"),
            (old.schemas["vector"], "modalities", "index"),
        )
    )
    groups = replace(GROUPS, patterns_GM=GROUPS.patterns_GM[:, inverse_M])
    new = replace(old, groups=groups, schemas={"tabular": tabular, "vector": vector})
    model, renamed = make(config), make(config, of=new)
    state = {
        name: value[inverse_M] if re.search(r"_M[A-Z]+$", name) else value
        for name, value in model.state_dict().items()
    }
    renamed.load_state_dict(state)
    batch = patients()
    moved = replace(batch, present_BM=batch.present_BM[:, inverse_M])
    torch.testing.assert_close(renamed(moved), model(batch))


def test_an_unseen_combination_has_a_finite_repeatable_prediction(config):
    """So has a patient observed in nothing; both in a batch of seen and unseen ones."""
    model, batch = make(config), patients()
    assert (batch.group_B == -1).any()
    assert (batch.group_B >= 0).any()
    logits_BKC = model(batch).logits_BKC
    assert logits_BKC.isfinite().all()
    assert torch.equal(model(batch).logits_BKC, logits_BKC)


def test_a_seen_group_has_a_residual_that_an_unseen_one_lacks(config):
    """Without its group id the same patient is predicted from the set alone, if groups matter."""
    model, batch = make(config), patients()
    nameless = replace(batch, group_B=torch.full_like(batch.group_B, -1))
    moved_B = (model(batch).logits_BKC - model(nameless).logits_BKC).abs().amax((1, 2)) > 1e-9
    expected_B = (batch.group_B >= 0) & (config.mixture != "none")
    assert torch.equal(moved_B, expected_B)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("modulation", [False, True])
def test_at_the_start_the_group_mixture_is_blind_to_groups(fusion, modulation):
    """Its group part adds nothing until it is trained: rank 8 predicts what rank 0 does."""
    group = make(replace(SMALL, fusion=fusion, rank=8, modulation=modulation), shaken=False)
    blind = make(replace(SMALL, fusion=fusion, rank=0), shaken=False)
    missing, unexpected = blind.load_state_dict(group.state_dict(), strict=False)
    assert missing == []
    assert any("code" in name for name in unexpected)
    batch = patients()
    torch.testing.assert_close(group(batch).logits_BKC, blind(batch).logits_BKC)


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5), seed=st.integers(0, 9))
def test_the_packed_transformer_equals_a_padded_one(sizes, seed):
    """Values and the gradients of tokens and all parameters."""
    model = make(replace(SMALL, fusion="transformer", mixture="none"))
    present_BM = torch.arange(4) < torch.tensor(sizes)[:, None]
    batch = random_batch(present_BM, seed, GROUPS)
    tokens = model.encoder(batch)
    layout = model.layout(batch)
    x_BKD, _ = model.fusion(tokens, layout.context, layout.fusion)
    assert isinstance(model.fusion, TransformerFusion)
    expected = padded_transformer(model.fusion, tokens.x_TD, tokens.owner_T)
    out_BC = model.fusion.classify(x_BKD).squeeze(1)
    assert_same(out_BC, expected, [tokens.x_TD, *model.fusion.parameters()])


def test_the_ensemble_readout_is_its_formula():
    """h_k = b_k + sum over observed a_km token_m + sum over absent a_km n_m, padded and in turn."""
    model, batch = make(replace(SMALL, layers=0, blocks=0, mixture="none")), patients()
    tokens = model.encoder(batch)
    context = GroupContext.from_batch(batch.present_BM, batch.group_B)
    pool = model.fusion.pool
    x_BMD = pool.absent_MD.repeat(len(batch), 1, 1)
    x_BMD[tokens.owner_T, tokens.modality_T] = tokens.x_TD
    h_BKD = (x_BMD[:, :, None] * pool.factor_MKD).sum(1) + pool.bias_KD
    h_KBD = h_BKD.transpose(0, 1)
    assert_same(pool(tokens, context, None), h_KBD, [tokens.x_TD, *pool.parameters()])


@pytest.mark.parametrize("num_patients", [1, 7, 8, 30])
def test_a_member_has_its_own_factors_of_one_matrix_and_its_own_head(num_patients):
    """((x r_k) W) s_k + b_k, of however many patients, and x H_k + c_k; values and gradients."""
    fusion = make(SMALL).fusion
    x_KBD = torch.randn(3, num_patients, 8, dtype=torch.float64, requires_grad=True)
    linear = fusion.layers[0]
    expected = [
        (x * r) @ linear.weight_DD * s + b
        for x, r, s, b in zip(x_KBD, linear.in_KD, linear.out_KD, linear.bias_KD, strict=True)
    ]
    assert_same(linear(x_KBD), torch.stack(expected), [x_KBD, *linear.parameters()])
    head = (fusion.head_KDC, fusion.bias_KC)
    expected = [x @ h + c for x, h, c in zip(x_KBD, *head, strict=True)]
    logits_BKC = fusion.classify(x_KBD.transpose(0, 1))
    assert_same(logits_BKC, torch.stack(expected, dim=1), [x_KBD, *head])


def test_the_gradient_of_the_heads_has_a_gradient():
    """Objectives that look at slopes of the logits train by it."""
    fusion = make(SMALL).fusion
    x_BKD = torch.randn(2, 3, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(classify, (x_BKD, fusion.head_KDC, fusion.bias_KC))


def test_without_a_gradient_there_is_no_penalty(config):
    """Nobody reads it, so it is not computed; the logits are the same."""
    model, batch = make(config), patients()
    with torch.no_grad():
        out = model(batch)
    assert out.penalty == 0
    torch.testing.assert_close(out.logits_BKC, model(batch).logits_BKC)


def test_dropout_acts_in_training_only(config):
    """Two passes differ in training; the residuals of the paper's mixture wait for half of it."""
    model, batch = make(replace(config, dropout=0.5)), patients()
    torch.testing.assert_close(model(batch), model(batch))
    model.train()
    assert not torch.allclose(model(batch).logits_BKC, model(batch).logits_BKC)
    stages = []
    for epoch in range(6):
        model.on_epoch(epoch, 6)
        stages += [int(part.stage) for part in model.modules() if isinstance(part, SoftGroupMoE)]
    assert stages == ([1] * 6 + [2] * 6 if config.mixture == "soft" else [])


def test_parameters_do_not_grow_with_the_number_of_possible_combinations(config):
    """A modality more costs the same at 4 and at 63; a group costs its residuals and no more."""

    def size(num_modalities: int, num_groups: int) -> int:
        vectors = [
            VectorModality(name=f"v{m}", index=m, mean=(0.0,), std=(1.0,))
            for m in range(num_modalities)
        ]
        names = tuple(vector.name for vector in vectors)
        bits_GM = np.arange(num_groups)[:, None] >> np.arange(num_modalities) & 1
        groups = Groups.fit(bits_GM == 0, names)  # the first is observed in everything
        schemas = {"vector": VectorSchema(modalities=tuple(vectors))}
        of = Encoding(modalities=names, classes=("0", "1"), groups=groups, schemas=schemas)
        return num_parameters(Model(of, 2, config))

    assert size(64, 3) - size(63, 3) == size(5, 3) - size(4, 3) > 0
    residual = {"none": 0, "group": config.rank, "soft": config.width * config.experts}
    parts = config.blocks * residual[config.mixture] + config.group_pooling * config.rank
    assert size(4, 15) - size(4, 3) == 12 * parts


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"fusion": "ensembel"},
            'fusion must be one of ensemble, transformer, got "ensembel"; did you mean "ensemble"?',
        ),
        (
            {"mixture": "moe"},
            'mixture must be one of none, group, soft, got "moe"',
        ),
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"embedding_rank": 0}, "embedding_rank must be at least 1, got 0"),
        ({"members": 0}, "members must be at least 1, got 0"),
        ({"heads": 0}, "heads must be at least 1, got 0"),
        ({"layers": -1}, "layers must be at least 0, got -1"),
        ({"blocks": -1}, "blocks must be at least 0, got -1"),
        ({"dropout": 1.0}, "dropout must be in [0, 1), got 1.0"),
        ({"dropout": float("nan")}, "dropout must be in [0, 1), got nan"),
        ({"fusion": "transformer", "heads": 3}, "heads must divide width 8, got 3"),
        ({"top_k": 5}, "top_k must be in 1..4, got 5"),
        ({"activation": "glu"}, 'activation must be one of silu, gelu, relu, swiglu, got "glu"'),
    ],
)
def test_wrong_values_are_refused(change, sentence):
    """The error is one sentence that names the value and what it may be."""
    with pytest.raises(InputError, match="^" + re.escape(sentence)):
        replace(SMALL, **change)


def test_a_model_without_a_representation_and_without_logits_is_refused_when_it_is_defined():
    """Each of the two methods of the base has the other one to go by."""
    with pytest.raises(TypeError, match=r"^Idle must define represent or forward, it has neither$"):
        type("Idle", (FusionModel,), {})
    type("Lazy", (type("Logits", (FusionModel,), {"forward": lambda *_: Output}),), {})


@pytest.mark.parametrize(
    "share_M", [(1, 0.02, 0.9, 0.01), (1, 0.02, 0, 0.9), (0.01, 0.02, 0, 0.03)]
)
def test_rare_modalities_are_pooled_as_any_other(share_M, monkeypatch):
    """Token by token, or in the dense array with all: the same readouts and gradients."""
    batch = patients(20)
    layout = make(SMALL).layout(batch)
    tokens = make(SMALL).encoder(batch)
    found = []
    for rare_below in (ensemble.RARE, 0.0):
        monkeypatch.setattr(ensemble, "RARE", rare_below)
        torch.manual_seed(0)
        pool = ensemble.Pool(SMALL.width, 3, torch.tensor(share_M, dtype=torch.float32)).double()
        rare = pool.rare(tokens.modality_T)
        x_TD = tokens.x_TD.detach().requires_grad_()
        x_KBD = pool(tokens._replace(x_TD=x_TD), layout.context, rare)
        weight_KBD = torch.arange(x_KBD.numel(), dtype=torch.float64).view(x_KBD.shape).sin()
        grads = torch.autograd.grad((x_KBD * weight_KBD).sum(), [x_TD, *pool.parameters()])
        found.append([x_KBD, *grads])
        assert (rare is None) == (not rare_below)
    for ours, dense in zip(*found, strict=True):
        torch.testing.assert_close(ours, dense)
