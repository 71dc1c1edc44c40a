"""ItemPool: sets of items to tokens."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from remind.encoders.items import ItemPool
from remind.encoders.tokens import Tokens


def make(num_items: int, seed: int) -> tuple[ItemPool, tuple[torch.Tensor, ...]]:
    """A pool over modalities 0 and 2 of 3, and items of 4 patients."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    pool = ItemPool([0, 2], item_width=5, width=6, num_modalities=3, num_tokens=2)
    x_Vd = torch.randn(num_items, 5, generator=generator)
    owner_V = torch.randint(0, 4, (num_items,), generator=generator)
    modality_V = 2 * torch.randint(0, 2, (num_items,), generator=generator)
    return pool, (x_Vd, owner_V, modality_V, torch.rand(4, 3, generator=generator) < 0.7)


def pooled(
    pool: ItemPool,
    x_Vd: torch.Tensor,
    owner_V: torch.Tensor,
    modality_V: torch.Tensor,
    present_BM: torch.Tensor,
) -> Tokens:
    plan = pool.plan(owner_V, modality_V, present_BM)
    return pool(x_Vd[plan.item_V], plan)


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 10**6))
def test_tokens_are_those_of_a_plain_softmax_per_patient_and_modality(num: int, seed: int) -> None:
    pool, (x_Vd, owner_V, modality_V, present_BM) = make(num, seed)
    tokens = pooled(pool, x_Vd, owner_V, modality_V, present_BM)
    expected = []
    for b, m in present_BM.nonzero().tolist():
        if m == 1:
            continue
        own = x_Vd[(owner_V == b) & (modality_V == m)]
        for q in range(2):
            share = (own @ pool.query_MQd[m, q] / 5**0.5).softmax(0)
            expected.append(
                (share @ pool.value(own) if len(own) else own.sum(0)) @ pool.project_QdD[q]
            )
    expected_TD = torch.stack(expected) if expected else torch.zeros(0, 6)
    torch.testing.assert_close(tokens.x_TD, expected_TD, atol=1e-5, rtol=1e-4)
    assert (tokens.owner_T.diff() >= 0).all()


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(0, 10**6))
def test_the_order_of_items_and_the_items_of_unobserved_modalities_are_irrelevant(
    num: int, seed: int
) -> None:
    pool, (x_Vd, owner_V, modality_V, present_BM) = make(num, seed)
    tokens = pooled(pool, x_Vd, owner_V, modality_V, present_BM)
    order = torch.randperm(num, generator=torch.Generator().manual_seed(seed))
    changed_Vd = torch.where(present_BM[owner_V, modality_V][:, None], x_Vd, torch.nan)
    again = pooled(pool, changed_Vd[order], owner_V[order], modality_V[order], present_BM)
    torch.testing.assert_close(again.x_TD, tokens.x_TD, atol=1e-5, rtol=1e-4)


def test_the_gradient_reaches_every_parameter() -> None:
    pool, inputs = make(40, 1)
    pooled(pool, *inputs).x_TD.square().sum().backward()
    for name, parameter in pool.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
