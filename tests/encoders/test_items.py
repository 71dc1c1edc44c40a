"""ItemPool: sets of items to tokens."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remind.encoders.items import ItemPool
from remind.encoders.tokens import Tokens

Inputs = tuple[Tensor, Tensor, Tensor]


def make(num_items: int, seed: int) -> tuple[ItemPool, Inputs]:
    """A pool of modality 1 of 2 with two heads, and items of 4 patients."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    pool = ItemPool(1, item_width=5, width=6, num_tokens=2, heads=2)
    x_Vd = torch.randn(num_items, 5, generator=generator)
    owner_V = torch.randint(0, 4, (num_items,), generator=generator)
    return pool, (x_Vd, owner_V, torch.rand(4, 2, generator=generator) < 0.7)


def pooled(pool: ItemPool, x_Vd: Tensor, owner_V: Tensor, present_BM: Tensor) -> Tokens:
    plan = pool.plan(owner_V, present_BM)
    return pool(x_Vd[plan.item_V], plan)


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 10**6))
def test_tokens_are_those_of_a_plain_softmax_per_patient(num: int, seed: int) -> None:
    pool, (x_Vd, owner_V, present_BM) = make(num, seed)
    tokens = pooled(pool, x_Vd, owner_V, present_BM)
    expected, owners = [], present_BM[:, 1].nonzero().squeeze(1).tolist()
    for b in owners:
        own = x_Vd[owner_V == b]
        means = []
        for query_d, project_dD in zip(pool.query_Qd, pool.project_QdD, strict=True):
            share = (own @ query_d / 5**0.5).softmax(0)
            means.append((share @ pool.value(own) if len(own) else own.sum(0)) @ project_dD)
        expected += [means[0] + means[1], means[2] + means[3]]
    expected_TD = torch.stack(expected) if expected else torch.zeros(0, 6)
    torch.testing.assert_close(tokens.x_TD, expected_TD, atol=1e-5, rtol=1e-4)
    assert tokens.owner_T.tolist() == [b for b in owners for _ in range(2)]
    assert (tokens.modality_T == 1).all()


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(0, 10**6))
def test_the_order_of_items_and_the_items_of_unobserved_patients_are_irrelevant(
    num: int, seed: int
) -> None:
    pool, (x_Vd, owner_V, present_BM) = make(num, seed)
    tokens = pooled(pool, x_Vd, owner_V, present_BM)
    order = torch.randperm(num, generator=torch.Generator().manual_seed(seed))
    changed_Vd = torch.where(present_BM[owner_V, 1][:, None], x_Vd, torch.nan)
    again = pooled(pool, changed_Vd[order], owner_V[order], present_BM)
    torch.testing.assert_close(again.x_TD, tokens.x_TD, atol=1e-5, rtol=1e-4)


@settings(deadline=None)
@given(st.integers(0, 12), st.integers(1, 3), st.integers(0, 10**6))
def test_parts_of_items_are_pooled_as_items_of_their_own(num: int, times: int, seed: int) -> None:
    """As the places of an image are."""
    pool, (_, owner_V, present_BM) = make(num, seed)
    plan = pool.plan(owner_V, present_BM)
    part_VPd = torch.randn(num, times, 5)
    found = pool(part_VPd[plan.item_V].flatten(0, 1), plan.repeat(times))
    expected = pooled(pool, part_VPd.flatten(0, 1), owner_V.repeat_interleave(times), present_BM)
    torch.testing.assert_close(found, expected)


def test_the_gradient_reaches_every_parameter() -> None:
    pool, inputs = make(40, 1)
    pooled(pool, *inputs).x_TD.square().sum().backward()
    for name, parameter in pool.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
