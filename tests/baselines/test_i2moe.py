"""I²MoE against its equations, one pass of one expert after the other, and the laws of peers.

B patients, M modalities, E experts, V replaced modalities, D width, C classes.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from remind.baselines.i2moe import I2MOE, I2MoE, I2MoEConfig
from remind.cohort import Batch
from remind.errors import InputError
from tests.baselines.laws import (
    check_alone,
    check_gradients,
    check_labels_are_not_read,
    check_permutes,
    check_run,
    check_unobserved_is_untouched,
)
from tests.baselines.make import (
    GivenTokens,
    make_model,
    random_batch,
    random_tokens,
    select,
    small_encoding,
)
from tests.fusion.reference import assert_same

SMALL = I2MoEConfig(
    width=6,
    embedding_rank=3,
    hidden=7,
    layers=2,
    weigher=5,
    dropout=0.0,
    weigher_temperature=0.5,
    interaction=0.3,
)


def inputs(model: I2MoE, tokens: Any, present_BM: Tensor) -> Tensor:
    """x of every patient and modality (B, M, D)."""
    x_BMD = model.missing_MD.repeat(len(present_BM), 1, 1)
    for b, m in present_BM.nonzero().tolist():
        of_both = (tokens.owner_T == b) & (tokens.modality_T == m)
        x_BMD[b, m] = model.norm(tokens.x_TD[of_both].mean(0))
    return x_BMD


def expert(model: I2MoE, e: int, x_MD: Tensor) -> Tensor:
    """One pass of one expert on one patient: its logits."""
    experts, first_MDH = model.experts, model.experts.first_MDEH[:, :, e]
    h_H = experts.offset_EH[e] + sum(x_D @ w_DH for x_D, w_DH in zip(x_MD, first_MDH, strict=True))
    layer: Any
    for layer in experts.rest:
        h_H = h_H.clamp_min(0) @ layer.weight_EHF[e] + layer.bias_EF[e]
    return h_H


def plain_logits(model: I2MoE, x_BMD: Tensor) -> Tensor:
    """The weighted logits (B, C)."""
    num_experts = x_BMD.shape[1] + 2
    rows = []
    for x_MD in x_BMD:
        weight_E = (model.weigher(x_MD.flatten()) / SMALL.weigher_temperature).softmax(0)
        rows.append(sum(weight_E[e] * expert(model, e, x_MD) for e in range(num_experts)))
    return torch.stack(rows)


def plain_penalty(
    model: I2MoE, x_BMD: Tensor, present_BM: Tensor, noise_BVD: Tensor, replaced: list[int]
) -> Tensor:
    """0.3 / (M + 2) * (M * mean of U + S + R), from a full pass for every view."""

    def view(x_MD: Tensor, v: int, noise_D: Tensor) -> Tensor:
        return torch.stack([noise_D if m == replaced[v] else x_D for m, x_D in enumerate(x_MD)])

    def far(y_C: Tensor, z_C: Tensor) -> Tensor:
        return ((y_C - z_C).square().sum() + 1e-12).sqrt()  # 0 where no hidden unit notices

    def cosine(y_C: Tensor, z_C: Tensor) -> Tensor:
        return y_C @ z_C / (y_C.norm() * z_C.norm())

    num_modalities = x_BMD.shape[1]
    unique, synergy, redundancy, clipped = [], [], [], []
    for x_MD, present_M, noise_VD in zip(x_BMD, present_BM, noise_BVD, strict=True):
        views = [view(x_MD, v, noise_D) for v, noise_D in enumerate(noise_VD)]
        seen = [v for v, m in enumerate(replaced) if present_M[m]]
        for v in seen:
            y_C = expert(model, replaced[v], x_MD)
            own = far(y_C, expert(model, replaced[v], views[v]))
            for other in set(seen) - {v}:
                away = far(y_C, expert(model, replaced[v], views[other]))
                unique.append((away - own + 1).clamp_min(0))
                clipped.append(bool(unique[-1] == 0))
            for e, found in ((num_modalities, synergy), (num_modalities + 1, redundancy)):
                found.append(cosine(expert(model, e, x_MD), expert(model, e, views[v])))
    assert 0 < sum(clipped) < len(clipped)
    u, s, r = (torch.stack(found).mean() for found in (unique, synergy, redundancy))
    return 0.3 / (num_modalities + 2) * (num_modalities * u + s + 1 - r)


def draws(batch: Batch, num_views: int) -> tuple[list[int], Tensor]:
    """The replaced modalities and the noise of a step after `torch.manual_seed(3)`."""
    torch.manual_seed(3)
    num_patients, num_modalities = batch.present_BM.shape
    replaced = torch.randperm(num_modalities)[:num_views].tolist()
    return replaced, torch.randn(num_patients, num_views, SMALL.width, dtype=torch.float64)


@pytest.mark.parametrize("views", [2, 3, 6])
def test_a_training_step_is_its_formulas(views: int) -> None:
    """With all four modalities replaced, and with fewer that stand for all."""
    config = I2MoEConfig(**{**vars(SMALL), "views": views})
    model, batch = make_model(I2MoE, config), random_batch(small_encoding())
    tokens = random_tokens(batch.present_BM, SMALL.width)
    model.encoder = GivenTokens(tokens)
    model.experts.rest[-1].weight_EHF.data *= 10  # some distances beyond the margin, some not
    x_BMD = inputs(model, tokens, batch.present_BM)
    replaced, noise_BVD = draws(batch, min(views, 4))
    penalty = plain_penalty(model, x_BMD, batch.present_BM, noise_BVD, replaced)
    torch.manual_seed(3)
    out = model.train()(batch)
    result = torch.cat([out.logits_BKC.flatten(), out.penalty[None]])
    expected = torch.cat([plain_logits(model, x_BMD).flatten(), penalty[None]])
    assert_same(result, expected, [tokens.x_TD, *model.parameters()])


def test_a_sample_of_views_stands_for_all() -> None:
    """The mean penalty over many draws of two of four modalities is that of all four."""
    batch = random_batch(small_encoding(), 600)
    batch = batch.with_present(torch.ones_like(batch.present_BM))
    means = []
    for views in (2, 4):
        config = I2MoEConfig(**{**vars(SMALL), "views": views})
        model = make_model(I2MoE, config).train()
        torch.manual_seed(0)
        with torch.no_grad():
            means.append(torch.stack([model(batch).penalty for _ in range(300)]).mean())
    torch.testing.assert_close(means[0], means[1], rtol=0.01, atol=0)


def test_laws() -> None:
    batch = random_batch(small_encoding(), 40)
    checks = (check_unobserved_is_untouched, check_permutes, check_alone, check_gradients)
    for check in (*checks, check_labels_are_not_read):
        check(make_model(I2MoE, SMALL), batch)


@pytest.mark.parametrize(("num_modalities", "rows"), [(1, [0, 1]), (4, [4]), (4, [])])
def test_without_a_pair_of_modalities_there_is_a_penalty(
    num_modalities: int, rows: list[int]
) -> None:
    """Of synergy and redundancy for one modality, 0 for nothing observed or nobody; never NaN."""
    encoding = small_encoding(num_modalities)
    batch = select(random_batch(encoding), torch.tensor(rows, dtype=torch.int64))
    penalty = make_model(I2MoE, SMALL, encoding).train()(batch).penalty
    assert bool(penalty != 0) == bool(batch.present_BM.any())
    assert penalty.isfinite()


def test_dropout_acts_in_training_only() -> None:
    model = make_model(I2MoE, I2MoEConfig(width=8, embedding_rank=3, hidden=6, dropout=0.5))
    batch = random_batch(small_encoding())
    torch.testing.assert_close(model(batch), model(batch))
    model.train()
    assert not torch.allclose(model(batch).logits_BKC, model(batch).logits_BKC)


def test_a_run_opens_again(tmp_path: Path) -> None:
    check_run(I2MOE, tmp_path, "width=8", "hidden=8")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"hidden": 0}, "hidden must be a whole number >= 1, got 0"),
        ({"layers": 0}, "layers must be a whole number >= 1, got 0"),
        ({"weigher": 0}, "weigher must be a whole number >= 1, got 0"),
        ({"weigher_temperature": 0}, "weigher_temperature must be a number > 0, got 0"),
        ({"interaction": -1}, "interaction must be a number >= 0, got -1"),
        ({"views": 1}, "views must be a whole number >= 2, got 1"),
    ],
)
def test_wrong_values_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match="^" + re.escape(sentence) + "$"):
        I2MoEConfig(**options)
