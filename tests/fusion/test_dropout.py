"""Dropout: what it drops, what it keeps, and when."""

import pytest
import torch

from remind.fusion.dropout import Dropout


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_it_drops_its_share_and_keeps_the_mean(share):
    """Values are zero or scaled to the same mean; places are independent; so is the gradient."""
    torch.manual_seed(0)
    x = torch.ones(999, 1001, dtype=torch.float64, requires_grad=True)
    out = Dropout(share)(x)
    is_kept = out != 0
    torch.testing.assert_close(
        out[is_kept], torch.full_like(out[is_kept], 1 / (1 - share)), rtol=1e-4, atol=0
    )
    assert abs(is_kept.double().mean() - (1 - share)) < 2e-3
    for axis in (0, 1):
        near = is_kept.double().roll(1, axis)
        assert (
            abs(torch.corrcoef(torch.stack([near.flatten(), is_kept.double().flatten()]))[0, 1])
            < 5e-3
        )
    for lane in range(4):
        assert abs(is_kept.flatten()[lane::4].double().mean() - (1 - share)) < 4e-3
    out.sum().backward()
    torch.testing.assert_close(x.grad, out.detach())


@pytest.mark.parametrize("share", [0.0, 1e-6, 2.0**-17])
def test_a_share_of_less_than_a_value_in_2_17_drops_nothing(share):
    """Not everything, as once, when the number that are kept did not fit 16 bits."""
    x = torch.ones(100, 1000)
    assert Dropout(share)(x) is x


def test_nearly_all_may_be_dropped():
    """At most all but one of 2^16, which keeps the mean."""
    torch.manual_seed(0)
    out = Dropout(1 - 1e-7)(torch.ones(2048, 2048))
    assert out.unique().tolist() == [0, 2**16]
    assert abs(out.mean() - 1) < 0.5


@pytest.mark.parametrize("shape", [(0, 3), (1,), (3, 5)])
def test_any_shape_the_same_by_the_same_seed_and_nothing_when_it_predicts(shape):
    """Sizes that do not fill the last draw too."""
    dropout, x = Dropout(0.4), torch.randn(shape)
    first, second = (dropout(torch.manual_seed(3) and x) for _ in range(2))
    assert first.shape == x.shape
    assert torch.equal(first, second)
    assert dropout.eval()(x) is x
