"""MUSE against its equations, edge by edge, and the laws of peers.

B patients, M modalities, D width.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from remind.baselines import muse as module
from remind.baselines.muse import MUSE, Muse, MuseConfig, thinned
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

SMALL = MuseConfig(
    width=5, embedding_rank=3, layers=3, dropout=0.0, between_views=0.3, by_label=0.7
)


def mean(rows: list[Tensor]) -> Tensor:
    return torch.stack(rows).mean(0) if rows else torch.zeros(SMALL.width, dtype=torch.float64)


def plain_graph(
    model: Muse, edge: dict[tuple[int, int], Tensor], num_patients: int, means: Any = None
) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Patients after all layers, and the mean messages to modalities in each.

    Args:
        model: in float64.
        edge: what the edge of a patient and a modality knows.
        num_patients: B.
        means: mean messages to modalities, layer by layer; those of the edges if None.
    """
    patients = [torch.ones(SMALL.width, dtype=torch.float64) for _ in range(num_patients)]
    modalities, found = list(model.node_MD), []
    message: Any
    update: Any
    for l, (message, update) in enumerate(zip(model.messages, model.updates, strict=True)):

        def send(x_D: Tensor, e_D: Tensor, linear: nn.Linear = message.linear) -> Tensor:
            return linear(torch.cat([x_D, e_D])).clamp_min(0)

        to_b: list[list[Tensor]] = [[] for _ in patients]
        to_m: list[list[Tensor]] = [[] for _ in modalities]
        for (b, m), e_D in edge.items():
            to_b[b].append(send(modalities[m], e_D))
            to_m[m].append(send(patients[b], e_D))
        found.append([mean(rows) for rows in to_m])
        new_m = found[-1] if means is None or l == len(model.updates) - 1 else means[l]
        patients, modalities = (
            [update.linear(torch.cat([a, x])).clamp_min(0) for a, x in zip(new, old, strict=True)]
            for new, old in (([mean(rows) for rows in to_b], patients), (new_m, modalities))
        )
        if l < len(model.edge_updates):
            edge_update: Any = model.edge_updates[l]
            edge = {
                key: edge_update.linear(
                    torch.cat([patients[key[0]], modalities[key[1]], e_D])
                ).clamp_min(0)
                for key, e_D in edge.items()
            }
    return patients, found


def plain_penalty(model: Muse, x_BD: Tensor, other_BD: Tensor, label_B: Tensor) -> Tensor:
    """Both contrastive losses, pair by pair."""
    u, v = (model.projection(x).tanh() for x in (x_BD, other_BD))
    u, v = (x / x.square().sum(1, keepdim=True).sqrt() for x in (u, v))
    size = len(u)
    s_uv, s_uu = u @ v.T / 0.07, u @ u.T / 0.07
    between = [-(s_uv[b].log_softmax(0)[b] + s_uv[:, b].log_softmax(0)[b]) for b in range(size)]
    pairs = [
        -(s if label_B[b] == label_B[c] else -s).sigmoid().log()
        for s_BB in (s_uu, s_uv)
        for b in range(size)
        for c in range(size)
        for s in [s_BB[b, c]]
    ]
    return 0.3 * torch.stack(between).mean() / 2 + 0.7 * torch.stack(pairs).mean()


def slot_edges(tokens: Any, present_BM: Tensor) -> dict[tuple[int, int], Tensor]:
    return {
        (b, m): tokens.x_TD[(tokens.owner_T == b) & (tokens.modality_T == m)].mean(0)
        for b, m in present_BM.nonzero().tolist()
    }


def test_a_training_step_is_its_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits and penalty, with a second view that has lost some edges."""
    model, batch = make_model(Muse, SMALL), random_batch(small_encoding())
    tokens = random_tokens(batch.present_BM, SMALL.width)
    model.encoder = GivenTokens(tokens)
    fewer_BM = batch.present_BM.clone()
    fewer_BM[0, 1:3] = fewer_BM[1, 0] = False
    monkeypatch.setattr(module, "thinned", lambda present_BM: fewer_BM)
    edges = slot_edges(tokens, batch.present_BM)
    x_BD, other_BD = (
        torch.stack(plain_graph(model, view, len(batch))[0])
        for view in (edges, {key: edges[key] for key in edges if fewer_BM[key]})
    )
    logits_BC = model.head(model.hidden(x_BD).clamp_min(0))
    penalty = plain_penalty(model, x_BD, other_BD, batch.label_B)
    out = model.train()(batch)
    result = torch.cat([out.logits_BKC.flatten(), out.penalty[None]])
    expected = torch.cat([logits_BC.flatten(), penalty[None]])
    assert_same(result, expected, [tokens.x_TD, *model.parameters()])


def test_prediction_takes_the_means_of_training() -> None:
    """Of all patients seen, the latest batch counting most; the second view leaves no trace."""
    model, whole = make_model(Muse, SMALL), random_batch(small_encoding(), 30)
    parts = [select(whole, torch.arange(start, start + 15)) for start in (0, 15)]
    sums: list[list[Tensor]] = [[torch.zeros(5).double()] * 4 for _ in range(2)]
    nums = torch.zeros(4, dtype=torch.float64)
    for part in parts:
        tokens = random_tokens(part.present_BM, SMALL.width)
        model.encoder = GivenTokens(tokens)
        model.train()(part)
        _, means = plain_graph(model, slot_edges(tokens, part.present_BM), len(part))
        num_M = part.present_BM.sum(0)
        sums = [
            [0.99 * s + n * a for s, n, a in zip(old, num_M, new, strict=True)]
            for old, new in zip(sums, means[:2], strict=True)
        ]
        nums = 0.99 * nums + num_M
    kept = [[s / n for s, n in zip(row, nums, strict=True)] for row in sums]
    tokens = random_tokens(whole.present_BM, SMALL.width, seed=1)
    model.encoder = GivenTokens(tokens)
    x_B, _ = plain_graph(model, slot_edges(tokens, whole.present_BM), len(whole), kept)
    x_BKD, _ = model.eval().represent(whole)
    torch.testing.assert_close(x_BKD[:, 0], torch.stack(x_B))


def trained() -> Muse:
    """A model that has seen a batch, so that it remembers something."""
    model = make_model(Muse, SMALL)
    model.train()(random_batch(small_encoding(), 30, seed=1))
    return model.eval()


def test_laws() -> None:
    batch = random_batch(small_encoding(), 40)
    checks = (check_unobserved_is_untouched, check_permutes, check_alone, check_gradients)
    for check in (*checks, check_labels_are_not_read):
        check(trained(), batch)


def test_a_modality_that_a_batch_lacks_keeps_its_mean() -> None:
    model, batch = trained(), random_batch(small_encoding(), 8)
    before_LMD = model.sum_LMD.clone()
    present_BM = batch.present_BM.clone()
    present_BM[:, 2] = False
    model.train()(batch.with_present(present_BM))
    assert torch.equal(model.sum_LMD[:, 2], before_LMD[:, 2])
    assert not torch.isclose(model.sum_LMD[:, :2], before_LMD[:, :2]).all()


@given(seed=st.integers(0, 999), num_modalities=st.integers(1, 7))
def test_a_second_view_drops_some_edges_but_never_all(seed: int, num_modalities: int) -> None:
    torch.manual_seed(seed)
    present_BM = torch.rand(40, num_modalities) < 0.6
    view_BM = thinned(present_BM)
    assert not (view_BM & ~present_BM).any()
    assert torch.equal(view_BM.any(1), present_BM.any(1))


def test_half_of_the_patients_lose_edges_and_any_number_alike() -> None:
    torch.manual_seed(0)
    num_B = thinned(torch.ones(40_000, 4, dtype=torch.bool)).sum(1)
    share_5 = num_B.bincount(minlength=5) / len(num_B)
    expected_5 = torch.tensor([0, 1 / 6, 1 / 6, 1 / 6, 1 / 2])
    torch.testing.assert_close(share_5, expected_5, atol=0.01, rtol=0)


def test_dropout_acts_in_training_only() -> None:
    model = make_model(Muse, MuseConfig(width=8, embedding_rank=3, dropout=0.5))
    batch = random_batch(small_encoding())
    torch.testing.assert_close(model(batch), model(batch))
    model.train()
    assert not torch.allclose(model(batch).logits_BKC, model(batch).logits_BKC)


def test_a_run_opens_again(tmp_path: Path) -> None:
    check_run(MUSE, tmp_path, "width=8")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"layers": 0}, "layers must be a whole number >= 1, got 0"),
        ({"between_views": -1}, "between_views must be a number >= 0, got -1"),
        ({"by_label": -1}, "by_label must be a number >= 0, got -1"),
        ({"contrast_temperature": 0}, "contrast_temperature must be a number > 0, got 0"),
    ],
)
def test_wrong_values_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match="^" + re.escape(sentence) + "$"):
        MuseConfig(**options)
