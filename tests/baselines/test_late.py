"""Late fusion against its equation, and the laws of peers.

B patients, M modalities, C classes.
"""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from remind.baselines.late import LATE, LateConfig, LateFusion
from remind.errors import InputError
from tests.baselines.laws import (
    check_alone,
    check_gradients,
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

SMALL = LateConfig(width=6, embedding_rank=3, hidden=7, dropout=0.0)
WEIGHTS = ("mean", "learned")


@pytest.mark.parametrize("weights", WEIGHTS)
def test_it_is_the_weighted_mean_of_observed_unimodal_logits(weights: str) -> None:
    """Each classifier in turn; a patient observed in nothing has logits of zero."""
    model = make_model(LateFusion, replace(SMALL, weights=weights))
    batch = random_batch(small_encoding())
    tokens = random_tokens(batch.present_BM, SMALL.width)
    model.encoder = GivenTokens(tokens)
    first, _, _, second = model.unimodal
    weight_M = torch.ones(4) if weights == "mean" else model.log_weight_M.exp()
    rows = []
    for b, present_M in enumerate(batch.present_BM):
        total_C, total = torch.zeros(3, dtype=torch.float64), 0.0
        for m in present_M.nonzero()[:, 0].tolist():
            z_D = tokens.x_TD[(tokens.owner_T == b) & (tokens.modality_T == m)].mean(0)
            h_H = (z_D @ first.weight_MDF[m] + first.bias_MF[m]).clamp_min(0)
            logits_C = h_H @ second.weight_MDF[m] + second.bias_MF[m]
            total_C, total = total_C + weight_M[m] * logits_C, total + weight_M[m]
        rows.append(total_C / total if present_M.any() else total_C)
    out = model(batch)
    assert out.penalty == 0
    assert (out.logits_BKC[4] == 0).all()
    parameters = [tokens.x_TD, *model.unimodal.parameters()]
    parameters += [model.log_weight_M] if weights == "learned" else []
    assert_same(out.logits_BKC, torch.stack(rows).unsqueeze(1), parameters)


def test_weights_of_a_lone_modality_do_not_matter() -> None:
    """Whatever its weight, the only observed modality decides alone, without overflow."""
    model, batch = make_model(LateFusion, SMALL), random_batch(small_encoding())
    lone = select(batch, torch.tensor([2, 3]))
    expected = model(lone).logits_BKC
    model.log_weight_M.data[:] = torch.tensor([-800.0, 5.0, 0.0, 800.0])
    torch.testing.assert_close(model(lone).logits_BKC, expected)


def test_laws() -> None:
    batch = random_batch(small_encoding(), 40)
    for check in (check_unobserved_is_untouched, check_permutes, check_alone, check_gradients):
        check(make_model(LateFusion, SMALL), batch)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_run_opens_again(weights: str, tmp_path: Path) -> None:
    check_run(LATE, tmp_path, "width=8", "hidden=8", f"weights={weights}")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"hidden": 0}, "hidden must be a whole number >= 1, got 0"),
        (
            {"weights": "sum"},
            'weights must be "mean" or "learned", got \'sum\'',
        ),
    ],
)
def test_wrong_values_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match="^" + re.escape(sentence) + "$"):
        LateConfig(**options)
