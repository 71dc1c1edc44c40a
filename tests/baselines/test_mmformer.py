"""mmFormer against its equations, one patient after the other, and the laws of peers.

B patients, M modalities, n tokens of one modality or patient, D width.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from remind.baselines.mmformer import MMFORMER, MMFormer, MMFormerConfig
from remind.encoders import Tokens
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
    small_encoding,
)
from tests.fusion.reference import assert_same

SMALL = MMFormerConfig(
    width=8, embedding_rank=3, heads=2, hidden=6, own_blocks=2, cross_blocks=2, dropout=0.0
)


def attend(qkv_n3D: Tensor, num_heads: int) -> Tensor:
    """Softmax attention of all tokens to all, head by head."""
    q_nD, k_nD, v_nD = qkv_n3D.chunk(3, dim=1)
    heads = zip(*(x_nD.chunk(num_heads, dim=1) for x_nD in (q_nD, k_nD, v_nD)), strict=True)
    return torch.cat([(q @ k.T / k.shape[1] ** 0.5).softmax(1) @ v for q, k, v in heads], dim=1)


def plain_within(model: MMFormer, x_nD: Tensor, m: int) -> Tensor:
    """The transformer of modality m on its tokens of one patient."""

    def linear(layer: Any, x_nD: Tensor) -> Tensor:
        return x_nD @ layer.weight_MDF[m] + layer.bias_MF[m]

    for block in model.own:
        normed_nD = F.layer_norm(x_nD, (8,))
        x_nD = x_nD + linear(block.out, attend(linear(block.qkv, normed_nD), 2))
        hidden_nH = F.gelu(linear(block.rise, F.layer_norm(x_nD, (8,))))
        x_nD = x_nD + linear(block.fall, hidden_nH)
    return model.own_norm(x_nD)


def plain_across(model: MMFormer, x_nD: Tensor) -> Tensor:
    """The cross-modal transformer on all tokens of one patient."""
    block: Any
    for block in model.cross:
        attention, experts = block.attention, block.mixture.network
        x_nD = x_nD + attention.out(attend(attention.qkv(block.attention_norm(x_nD)), 2))
        hidden_nH = F.gelu(block.mixture_norm(x_nD) @ experts.w1_EDF[0])
        x_nD = x_nD + hidden_nH @ experts.w2_EHD[0]
    return x_nD


def plain(model: MMFormer, tokens: Tokens, present_BM: Tensor) -> tuple[Tensor, dict]:
    """Logits (B, C), and the logits of the heads per modality of every observed pair."""
    rows, auxiliary = [], {}
    for b, present_M in enumerate(present_BM.tolist()):
        parts = []
        for m, is_present in enumerate(present_M):
            part_nD = torch.zeros(1, 8, dtype=torch.float64)
            if is_present:
                own_nD = tokens.x_TD[(tokens.owner_T == b) & (tokens.modality_T == m)]
                part_nD = plain_within(model, own_nD, m)
                auxiliary[b, m] = part_nD.mean(0) @ model.heads.weight_MDF[m]
                auxiliary[b, m] = auxiliary[b, m] + model.heads.bias_MF[m]
            parts.append(part_nD + model.place_MD[m])
        x_nD = plain_across(model, torch.cat(parts))
        means = [part_nD.mean(0) for part_nD in x_nD.split([len(part_nD) for part_nD in parts])]
        rows.append(model.head(model.norm(torch.stack(means)).mean(0)))
    return torch.stack(rows), auxiliary


def test_logits_and_auxiliary_loss_are_their_formulas() -> None:
    """With one to three tokens per modality; a missing one is zeros and its place."""
    model, batch = make_model(MMFormer, SMALL), random_batch(small_encoding())
    tokens = random_tokens(batch.present_BM, 8)
    model.encoder = GivenTokens(tokens)
    logits_BC, auxiliary = plain(model, tokens, batch.present_BM)
    per_modality = [
        torch.stack(
            [
                F.cross_entropy(auxiliary[b, m], batch.label_B[b])
                for b in batch.present_BM[:, m].nonzero()[:, 0].tolist()
            ]
        ).mean()
        for m in range(4)
    ]
    penalty = SMALL.auxiliary * torch.stack(per_modality).mean()
    out = model.train()(batch)
    result = torch.cat([out.logits_BKC.flatten(), out.penalty[None]])
    expected = torch.cat([logits_BC.flatten(), penalty[None]])
    assert_same(result, expected, [tokens.x_TD, *model.parameters()])


def test_laws() -> None:
    batch = random_batch(small_encoding(), 40)
    checks = (check_unobserved_is_untouched, check_permutes, check_alone, check_gradients)
    for check in (*checks, check_labels_are_not_read):
        check(make_model(MMFormer, SMALL), batch)


def test_dropout_acts_in_training_only() -> None:
    """Inside the transformers of the modalities too."""
    config = MMFormerConfig(width=8, embedding_rank=3, hidden=6, cross_blocks=0, dropout=0.5)
    model, batch = make_model(MMFormer, config), random_batch(small_encoding())
    torch.testing.assert_close(model(batch), model(batch))
    model.train()
    assert not torch.allclose(model(batch).logits_BKC, model(batch).logits_BKC)


def test_a_run_opens_again(tmp_path: Path) -> None:
    check_run(MMFORMER, tmp_path, "width=8", "hidden=8", "heads=2")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"heads": 0}, "heads must be a whole number >= 1, got 0"),
        ({"hidden": 0}, "hidden must be a whole number >= 1, got 0"),
        ({"own_blocks": -1}, "own_blocks must be a whole number >= 0, got -1"),
        ({"cross_blocks": -1}, "cross_blocks must be a whole number >= 0, got -1"),
        ({"auxiliary": -0.5}, "auxiliary must be a number >= 0, got -0.5"),
        ({"width": 10, "heads": 4}, "heads must divide width 10, got 4"),
    ],
)
def test_wrong_values_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match="^" + re.escape(sentence) + "$"):
        MMFormerConfig(**options)
