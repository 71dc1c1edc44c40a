"""Low-rank fusion against its equation, its stability over many modalities, and the laws of peers.

B patients, M modalities, D width, R ranks, H width of the representation.
"""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from remind.baselines.low_rank import LOW_RANK, LowRank, LowRankConfig, LowRankFusion, shortened
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

SMALL = LowRankConfig(width=6, embedding_rank=3, hidden=5, rank=3, dropout=0.0)


def test_it_is_a_sum_over_ranks_of_products_over_observed_modalities() -> None:
    """h = sum_r w_r prod_m (W_m^r [z_m; 1]) + b, rank by rank, modality by modality."""
    model, batch = make_model(LowRankFusion, SMALL), random_batch(small_encoding())
    tokens = random_tokens(batch.present_BM, SMALL.width)
    model.encoder, fusion = GivenTokens(tokens), model.fusion
    rows = []
    for b, present_M in enumerate(batch.present_BM):
        h_H = fusion.bias_H
        for r in range(3):
            product_H = torch.ones(5, dtype=torch.float64)
            for m in present_M.nonzero()[:, 0].tolist():
                z_D = tokens.x_TD[(tokens.owner_T == b) & (tokens.modality_T == m)].mean(0)
                z_D = z_D / z_D.square().mean().sqrt().clamp_min(1)
                own = slice(5 * r, 5 * r + 5)
                constant_H = 1 + fusion.offset_MX[m, own]
                weight_HX = torch.cat([fusion.weight_MDX[m, :, own], constant_H[None]]).T
                product_H = product_H * (weight_HX @ torch.cat([z_D, torch.ones(1).double()]))
            h_H = h_H + fusion.rank_R[r] * product_H
        rows.append(model.head(h_H))
    out = model(batch)
    assert out.penalty == 0
    parameters = [tokens.x_TD, *fusion.parameters(), *model.head.parameters()]
    assert_same(out.logits_BKC, torch.stack(rows).unsqueeze(1), parameters)


def test_only_long_tokens_are_shortened() -> None:
    x_BMD = torch.tensor([[[0.3, -0.4], [3.0, 4.0], [0.0, 0.0]]])
    expected = torch.tensor([[[0.3, -0.4], [0.6, 0.8], [0.0, 0.0]]])
    expected[0, 1] *= 2**0.5
    torch.testing.assert_close(shortened(x_BMD), expected)


@pytest.mark.parametrize("num_modalities", [2, 10, 40, 160])
def test_the_product_starts_near_1_whatever_the_number_of_modalities(num_modalities: int) -> None:
    """For tokens as long as they can be; and every modality is heard about alike."""
    torch.manual_seed(0)
    fusion = LowRank(num_modalities, width=32, hidden=64, rank=1)
    fusion.rank_R.data[:] = 1
    z_BMD = shortened(100 * torch.randn(200, num_modalities, 32)).requires_grad_()
    product_BH = fusion(z_BMD, torch.ones(200, num_modalities, dtype=torch.bool))
    assert product_BH.mean().item() == pytest.approx(1, abs=0.15)
    size_BH = product_BH.detach().abs()
    assert (size_BH > 0.01).float().mean() > 0.98
    assert (size_BH < 20).float().mean() > 0.99
    (gradient_BMD,) = torch.autograd.grad(product_BH.sum(), z_BMD)
    size_M = gradient_BMD.square().mean((0, 2)).sqrt()
    assert size_M.max() < 2 * size_M.min()


def test_many_modalities_can_be_learned_from() -> None:
    """Forty modalities, the label in the sign of the first: fast steps, no overflow."""
    encoding = small_encoding(40, num_classes=2)
    torch.manual_seed(0)
    model, batch = LowRankFusion(encoding, 2, SMALL), random_batch(encoding, 100)
    batch.present_BM[:, 0] = True
    values = batch.values["vector"]
    label_B = (values["v0"][:, 0] > 0).long()
    values.update({name: x_BF.float() for name, x_BF in values.items()})
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    loss = torch.tensor(torch.inf)
    for _ in range(30):
        loss = F.cross_entropy(model(batch).logits_BKC[:, 0], label_B)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3


def test_laws() -> None:
    batch = random_batch(small_encoding(), 40)
    for check in (check_unobserved_is_untouched, check_permutes, check_alone, check_gradients):
        check(make_model(LowRankFusion, SMALL), batch)


def test_a_run_opens_again(tmp_path: Path) -> None:
    check_run(LOW_RANK, tmp_path, "width=8", "hidden=8")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"hidden": 0}, "hidden must be a whole number >= 1, got 0"),
        ({"rank": 0}, "rank must be a whole number >= 1, got 0"),
    ],
)
def test_wrong_values_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match="^" + re.escape(sentence) + "$"):
        LowRankConfig(**options)
