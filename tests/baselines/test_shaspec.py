"""ShaSpec against its equations, and the laws of peers.

B patients, M modalities, D width.
"""

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from remind.baselines.shaspec import SHASPEC, ShaSpec, ShaSpecConfig, pairwise_l1
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

SMALL = ShaSpecConfig(
    width=6, embedding_rank=3, hidden=7, dropout=0.0, alignment=0.3, recognition=0.7
)


def specific(network: Any, m: int, z_D: Tensor) -> Tensor:
    """The specific features of one modality of one patient."""
    first, last = network[0], network[3]
    h_D = (z_D @ first.weight_MDF[m] + first.bias_MF[m]).clamp_min(0)
    return h_D @ last.weight_MDF[m] + last.bias_MF[m]


def test_features_and_penalty_are_their_formulas() -> None:
    """f_m = Linear[s; r] + s or the mean of s; distances and recognition pair by pair."""
    model, batch = make_model(ShaSpec, SMALL), random_batch(small_encoding())
    tokens = random_tokens(batch.present_BM, SMALL.width)
    model.encoder = GivenTokens(tokens)
    rows, distances, surprises = [], [], []
    for b, present_M in enumerate(batch.present_BM):
        shared, fused = {}, [torch.zeros(SMALL.width, dtype=torch.float64)] * 4
        for m in present_M.nonzero()[:, 0].tolist():
            z_D = tokens.x_TD[(tokens.owner_T == b) & (tokens.modality_T == m)].mean(0)
            shared[m], r_D = model.shared(z_D), specific(model.specific, m, z_D)
            fused[m] = model.fuse(torch.cat([shared[m], r_D])) + shared[m]
            surprises.append(-model.recognize(r_D).log_softmax(0)[m])
        for m in set(range(4)) - set(shared) if shared else ():
            fused[m] = torch.stack(list(shared.values())).mean(0)
        distances += [(x_D - y_D).abs().mean() for x_D, y_D in combinations(shared.values(), 2)]
        rows.append(model.head(model.layers(torch.cat(fused))))
    penalty = 0.3 * torch.stack(distances).mean() + 0.7 * torch.stack(surprises).mean()
    out = model(batch)
    result = torch.cat([out.logits_BKC.flatten(), out.penalty[None]])
    expected = torch.cat([*rows, penalty[None]])
    assert_same(result, expected, [tokens.x_TD, *model.parameters()])


@given(seed=st.integers(0, 999), num_patients=st.integers(0, 4), num_modalities=st.integers(1, 7))
def test_sorting_gives_the_mean_distance_of_all_pairs(
    seed: int, num_patients: int, num_modalities: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    shape = (num_patients, num_modalities, 3)
    x_BMD = torch.randn(shape, dtype=torch.float64, generator=random).round(decimals=1)
    present_BM = torch.rand(shape[:2], generator=random) < 0.6
    found = [
        (x_D - y_D).abs().mean()
        for x_MD, present_M in zip(x_BMD, present_BM, strict=True)
        for x_D, y_D in combinations(x_MD[present_M], 2)
    ]
    expected = torch.stack(found).mean() if found else torch.zeros((), dtype=torch.float64)
    torch.testing.assert_close(pairwise_l1(x_BMD, present_BM), expected)


def test_laws() -> None:
    batch = random_batch(small_encoding(), 40)
    checks = (check_unobserved_is_untouched, check_permutes, check_alone, check_gradients)
    for check in (*checks, check_labels_are_not_read):
        check(make_model(ShaSpec, SMALL), batch)


def test_nothing_observed_costs_nothing() -> None:
    """Penalty 0, not NaN, for patients without a pair and for no patient at all."""
    model, batch = make_model(ShaSpec, SMALL), random_batch(small_encoding())
    for rows in ([4], []):
        assert model(select(batch, torch.tensor(rows, dtype=torch.int64))).penalty == 0


def test_a_run_opens_again(tmp_path: Path) -> None:
    check_run(SHASPEC, tmp_path, "width=8", "hidden=8")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"hidden": 0}, "hidden must be a whole number >= 1, got 0"),
        ({"alignment": -1}, "alignment must be a number >= 0, got -1"),
        ({"recognition": float("nan")}, "recognition must be a number >= 0, got nan"),
    ],
)
def test_wrong_values_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match="^" + re.escape(sentence) + "$"):
        ShaSpecConfig(**options)
