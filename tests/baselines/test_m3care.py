"""M3Care against its equations, pair by pair of patients, and the laws of peers.

B patients, M modalities, D width.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from remind.baselines.m3care import M3CARE, M3Care, M3CareConfig
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

SMALL = M3CareConfig(
    width=6, embedding_rank=3, heads=2, hidden=5, blocks=1, dropout=0.0, stability=0.3, bank=20
)
Patient = dict[int, Tensor]  # the mean tokens of what is observed


def linear(layer: Any, m: int, x_D: Tensor) -> Tensor:
    return x_D @ layer.weight_MDF[m] + layer.bias_MF[m]


def deep(model: M3Care, m: int, z_D: Tensor) -> Tensor:
    first, _, last = model.similarity.deep
    return linear(last, m, linear(first, m, z_D).clamp_min(0))


def gaussian(x_D: Tensor, y_D: Tensor, log_radius: Tensor) -> Tensor:
    """Of normalized vectors, by their distance."""
    x_D, y_D = ((v - v.mean()) / v.var(correction=0).sqrt() for v in (x_D, y_D))
    return (-(x_D - y_D).square().sum() / (2 * len(x_D) * log_radius.exp() ** 2)).exp()


def weight(model: M3Care, one: Patient, other: Patient) -> Tensor:
    """How strongly one patient may borrow from another one."""
    similarity, kernels = model.similarity, []
    for m in sorted(set(one) & set(other)):
        d = similarity.share_M[m].sigmoid()
        x_D, y_D = deep(model, m, one[m]), deep(model, m, other[m])
        mixed = (1 - d) * gaussian(x_D, y_D, similarity.deep_log_radius_M[m]) + d
        kernels.append(mixed * gaussian(one[m], other[m], similarity.log_radius_M[m]))
    mean = torch.stack(kernels).mean() if kernels else torch.zeros((), dtype=torch.float64)
    return (mean - similarity.threshold.sigmoid()).clamp_min(0)


def mean(weights: list[Tensor], values: list[Tensor]) -> Tensor:
    """The weighted mean; 0 without any weight."""
    total = sum(weights, torch.zeros((), dtype=torch.float64))
    if not total > 0:
        return torch.zeros(SMALL.width, dtype=torch.float64)
    return torch.stack([w * x for w, x in zip(weights, values, strict=True)]).sum(0) / total


def lent(model: M3Care, a: list[Tensor], g: list[list[Tensor]], m: int) -> Tensor:
    """h of one patient and modality, from the g of those with weights a."""
    return linear(model.second, m, mean(a, [row[m] for row in g])).clamp_min(0)


def first_convolution(model: M3Care, a: list[Tensor], z: list[Patient], m: int) -> Tensor:
    """g of one patient and modality, from the z of those with weights a."""
    have = [j for j, patient in enumerate(z) if m in patient]
    return linear(model.first, m, mean([a[j] for j in have], [z[j][m] for j in have])).clamp_min(0)


def logits(model: M3Care, patient: Patient, h_MD: list[Tensor]) -> Tensor:
    """From what is observed and what is lent to the logits of one patient."""
    rows = []
    for m, x_D in enumerate(h_MD):
        if m in patient:
            p = linear(model.own_weight, m, patient[m]).sigmoid()
            q = linear(model.lent_weight, m, x_D).sigmoid()
            x_D = (p * patient[m] + q * x_D) / (p + q)
        rows.append(x_D + model.place_MD[m])
    x_MD = torch.stack(rows)
    block: Any
    for block in model.blocks:
        q, k, v = (x.unflatten(1, (2, -1)).transpose(0, 1) for x in _qkv(block, x_MD))
        scores = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
        x_MD = x_MD + block.attention.out((scores @ v).transpose(0, 1).flatten(1))
        experts = block.mixture.network
        hidden_MH = F.gelu(block.mixture_norm(x_MD) @ experts.w1_EDF[0])
        x_MD = x_MD + hidden_MH @ experts.w2_EHD[0]
    return model.head(model.layers(model.norm(x_MD).flatten()))


def _qkv(block: Any, x_MD: Tensor) -> tuple[Tensor, ...]:
    return block.attention.qkv(block.attention_norm(x_MD)).chunk(3, dim=1)


def patients(tokens: Any, present_BM: Tensor) -> list[Patient]:
    return [
        {
            m: tokens.x_TD[(tokens.owner_T == b) & (tokens.modality_T == m)].mean(0)
            for m in present_M.nonzero()[:, 0].tolist()
        }
        for b, present_M in enumerate(present_BM)
    ]


def given(model: Any, batch: Batch, seed: int = 0) -> list[Patient]:
    """Patients of tokens that the model gets for the batch."""
    tokens = random_tokens(batch.present_BM, SMALL.width, seed=seed)
    model.encoder = GivenTokens(tokens)
    return patients(tokens, batch.present_BM)


def weights_of_batch(model: M3Care, z: list[Patient]) -> list[list[Tensor]]:
    """The weights of training: nobody borrows from himself."""
    zero = torch.zeros((), dtype=torch.float64)
    return [
        [zero if i == j else weight(model, one, other) for j, other in enumerate(z)]
        for i, one in enumerate(z)
    ]


def test_a_training_step_is_its_formulas() -> None:
    model, batch = make_model(M3Care, SMALL), random_batch(small_encoding())
    z = given(model, batch)
    a = weights_of_batch(model, z)
    assert 0 < sum(float(w == 0) for row in a for w in row) < len(z) ** 2 - len(z)
    g = [[first_convolution(model, row, z, m) for m in range(4)] for row in a]
    expected_BC = torch.stack(
        [
            logits(model, patient, [lent(model, row, g, m) for m in range(4)])
            for patient, row in zip(z, a, strict=True)
        ]
    )
    off = [
        (deep(model, m, z_D).norm() - z_D.norm()).abs() / 6**0.5
        for patient in z
        for m, z_D in patient.items()
    ]
    out = model.train()(batch)
    tokens: Any = model.encoder
    result = torch.cat([out.logits_BKC.flatten(), out.penalty[None]])
    expected = torch.cat([expected_BC.flatten(), 0.3 * torch.stack(off).mean()[None]])
    assert_same(result, expected, [tokens.tokens.x_TD, *model.parameters()])


def test_prediction_borrows_from_the_last_patients_of_training() -> None:
    """The bank of 20 holds the last batch of 15 and 5 of the one before."""
    model, whole = make_model(M3Care, SMALL), random_batch(small_encoding(), 30)
    bank_z: list[Patient] = []
    bank_g: list[list[Tensor]] = []
    for start in (0, 15):
        batch = select(whole, torch.arange(start, start + 15))
        z = given(model, batch, seed=start)
        a = weights_of_batch(model, z)
        bank_z += z
        bank_g += [[first_convolution(model, row, z, m) for m in range(4)] for row in a]
        model.train()(batch)
    batch = select(whole, torch.arange(9))
    z = given(model, batch, seed=7)
    expected = []
    for patient in z:
        a_R = [weight(model, patient, other) for other in bank_z[-20:]]
        h_MD = [lent(model, a_R, bank_g[-20:], m) for m in range(4)]
        expected.append(logits(model, patient, h_MD))
    torch.testing.assert_close(model.eval()(batch).logits_BKC[:, 0], torch.stack(expected))


def trained() -> M3Care:
    """A model with patients in its bank."""
    model = make_model(M3Care, SMALL)
    model.train()(random_batch(small_encoding(), 30, seed=1))
    return model.eval()


def test_laws() -> None:
    batch = random_batch(small_encoding(), 40)
    checks = (check_unobserved_is_untouched, check_permutes, check_alone, check_gradients)
    for check in (*checks, check_labels_are_not_read):
        check(trained(), batch)


def test_a_batch_larger_than_the_bank_leaves_its_last_patients() -> None:
    model, batch = make_model(M3Care, SMALL), random_batch(small_encoding(), 45)
    z = given(model, batch)
    a = weights_of_batch(model, z)
    model.train()(batch)
    for i in range(-20, 0):
        row = (int(model.bank_end) + i) % 20
        g_MD = torch.stack([first_convolution(model, a[i], z, m) for m in range(4)])
        torch.testing.assert_close(model.bank_g_RMD[row], g_MD)
        assert torch.equal(model.bank_present_RM[row], batch.present_BM[i])
        for m, z_D in z[i].items():
            torch.testing.assert_close(model.bank_z_RMD[row, m], z_D)


def test_an_empty_bank_lends_nothing() -> None:
    """Before training; every patient then gets the constant of the second convolution."""
    model, batch = make_model(M3Care, SMALL), random_batch(small_encoding())
    z = given(model, batch)
    h_MD = [model.second.bias_MF[m].clamp_min(0) for m in range(4)]
    expected_BC = torch.stack([logits(model, patient, h_MD) for patient in z])
    torch.testing.assert_close(model(batch).logits_BKC[:, 0], expected_BC)


def test_a_run_opens_again(tmp_path: Path) -> None:
    check_run(M3CARE, tmp_path, "width=8", "hidden=8", "heads=2")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"heads": 0}, "heads must be a whole number >= 1, got 0"),
        ({"hidden": 0}, "hidden must be a whole number >= 1, got 0"),
        ({"blocks": 0}, "blocks must be a whole number >= 1, got 0"),
        ({"bank": 0}, "bank must be a whole number >= 1, got 0"),
        ({"stability": -0.5}, "stability must be a number >= 0, got -0.5"),
        ({"width": 10, "heads": 4}, "heads must divide width 10, got 4"),
    ],
)
def test_wrong_values_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match="^" + re.escape(sentence) + "$"):
        M3CareConfig(**options)
