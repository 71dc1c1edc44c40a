"""Early fusion against its equation, and the laws of peers.

B patients, M modalities.
"""

import re
from pathlib import Path

import pytest
import torch

from remind.baselines.early import EARLY, EarlyConfig, EarlyFusion
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
    small_encoding,
)
from tests.fusion.reference import assert_same

SMALL = EarlyConfig(width=6, embedding_rank=3, hidden=7, layers=2, dropout=0.0)


def test_it_is_an_mlp_on_masked_modalities_and_their_presence() -> None:
    """y = W3 relu(W2 relu(W1 [o z, o])), patient by patient; z_m is the mean of m's tokens."""
    model, batch = make_model(EarlyFusion, SMALL), random_batch(small_encoding())
    tokens = random_tokens(batch.present_BM, SMALL.width)
    model.encoder = GivenTokens(tokens)
    first, second = (model.layers[i] for i in (0, 3))
    rows = []
    for b, present_M in enumerate(batch.present_BM):
        parts = []
        for m, is_present in enumerate(present_M):
            own_TD = tokens.x_TD[(tokens.owner_T == b) & (tokens.modality_T == m)]
            parts.append(own_TD.mean(0) if is_present else torch.zeros(SMALL.width))
        input_X = torch.cat([*parts, present_M.double()])
        h_H = (first.weight @ input_X + first.bias).clamp_min(0)
        h_H = (second.weight @ h_H + second.bias).clamp_min(0)
        rows.append(model.head.weight @ h_H + model.head.bias)
    out = model(batch)
    assert out.penalty == 0
    parameters = [tokens.x_TD, *model.layers.parameters(), *model.head.parameters()]
    assert_same(out.logits_BKC, torch.stack(rows).unsqueeze(1), parameters)


def test_laws() -> None:
    batch = random_batch(small_encoding(), 40)
    for check in (check_unobserved_is_untouched, check_permutes, check_alone, check_gradients):
        check(make_model(EarlyFusion, SMALL), batch)


def test_a_run_opens_again(tmp_path: Path) -> None:
    check_run(EARLY, tmp_path, "width=8", "hidden=8")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"hidden": 0}, "hidden must be a whole number >= 1, got 0"),
        ({"layers": 0}, "layers must be a whole number >= 1, got 0"),
        ({"width": 0}, "width must be a whole number >= 1, got 0"),
        ({"embedding_rank": 0}, "embedding_rank must be a whole number >= 1, got 0"),
        ({"dropout": 1.0}, "dropout must be in [0, 1), got 1.0"),
    ],
)
def test_wrong_values_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match="^" + re.escape(sentence) + "$"):
        EarlyConfig(**options)
