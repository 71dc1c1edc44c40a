"""Hidden activations of the experts, each with its derivative for the fused backward.

N token-expert pairs, H hidden, F = H * inputs columns of the first layer.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

aten = torch.ops.aten


class Activation(NamedTuple):
    """An activation a = f(h) and its pullback.

    Attributes:
        forward: h (N, F) to a (N, H).
        into: the same from h into a, which is overwritten; no gradient.
        backward_into: gradient of a, h; into a again and into the gradient of h.
        inputs: columns of h per column of a: 1, or 2 for gated units.
        in_place: whether a may overwrite h, and is given for it, and kept, in ``backward_into``.
    """

    forward: Callable[[Tensor], Tensor]
    into: Callable[[Tensor, Tensor], object]
    backward_into: Callable[[Tensor, Tensor, Tensor, Tensor], object]
    inputs: int = 1
    in_place: bool = False


def _silu_backward(grad_NH: Tensor, h_NH: Tensor, a_NH: Tensor, dh_NH: Tensor) -> None:
    """With s = sigmoid(h), the only costly part: a = h s and a' = s - s a + a."""
    torch.sigmoid(h_NH, out=dh_NH)
    torch.mul(h_NH, dh_NH, out=a_NH)
    dh_NH.addcmul_(dh_NH, a_NH, value=-1).add_(a_NH).mul_(grad_NH)


def _gelu_backward(grad_NH: Tensor, h_NH: Tensor, a_NH: Tensor, dh_NH: Tensor) -> None:
    aten.gelu.out(h_NH, out=a_NH)
    aten.gelu_backward.grad_input(grad_NH, h_NH, grad_input=dh_NH)


def _relu_backward(grad_NH: Tensor, h_NH: Tensor, a_NH: Tensor, dh_NH: Tensor) -> None:
    aten.threshold_backward.grad_input(grad_NH, a_NH, 0, grad_input=dh_NH)


def _swiglu(h_NF: Tensor) -> Tensor:
    gate_NH, up_NH = h_NF.chunk(2, dim=-1)
    return F.silu(gate_NH) * up_NH


def _swiglu_into(h_NF: Tensor, a_NH: Tensor) -> None:
    gate_NH, up_NH = h_NF.chunk(2, dim=-1)
    aten.silu.out(gate_NH, out=a_NH)
    a_NH.mul_(up_NH)


def _swiglu_backward(grad_NH: Tensor, h_NF: Tensor, a_NH: Tensor, dh_NF: Tensor) -> None:
    gate_NH, up_NH = h_NF.chunk(2, dim=-1)
    dgate_NH, dup_NH = dh_NF.chunk(2, dim=-1)
    _silu_backward(grad_NH * up_NH, gate_NH, a_NH, dgate_NH)
    torch.mul(grad_NH, a_NH, out=dup_NH)
    a_NH.mul_(up_NH)


ACTIVATIONS: dict[str, Activation] = {
    "silu": Activation(F.silu, lambda h, a: aten.silu.out(h, out=a), _silu_backward),
    "gelu": Activation(F.gelu, lambda h, a: aten.gelu.out(h, out=a), _gelu_backward),
    "relu": Activation(
        F.relu, lambda h, a: torch.clamp_min(h, 0, out=a), _relu_backward, in_place=True
    ),
    "swiglu": Activation(_swiglu, _swiglu_into, _swiglu_backward, inputs=2),
}
