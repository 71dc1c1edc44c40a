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
        backward: gradient of a (N, H) and h (N, F) to the gradient of h (N, F).
        inputs: columns of h per column of a: 1, or 2 for gated units.
    """

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]
    inputs: int = 1


def _swiglu(h_NF: Tensor) -> Tensor:
    gate_NH, up_NH = h_NF.chunk(2, dim=-1)
    return F.silu(gate_NH) * up_NH


def _swiglu_backward(grad_NH: Tensor, h_NF: Tensor) -> Tensor:
    gate_NH, up_NH = h_NF.chunk(2, dim=-1)
    return torch.cat([aten.silu_backward(grad_NH * up_NH, gate_NH), grad_NH * F.silu(gate_NH)], -1)


ACTIVATIONS: dict[str, Activation] = {
    "silu": Activation(F.silu, aten.silu_backward),
    "gelu": Activation(F.gelu, aten.gelu_backward),
    "relu": Activation(F.relu, lambda grad, h: aten.threshold_backward(grad, h, 0)),
    "swiglu": Activation(_swiglu, _swiglu_backward, inputs=2),
}
