"""The heads of the members: a matrix of each member's own, from what it knows to its logits.

Classes are few and patients are many, so on CPU the logits are computed with patients as columns.
Autograd would hand back the gradient of what the members know in that order too, transposed to all
that comes before it; here it is computed as it is used. (A step of `default` is a tenth shorter.)

B patients, K members, D width, C classes.
"""

from typing import Any

import torch
from torch import Tensor

from remind.autocast import cast


def classify(x_BKD: Tensor, head_KDC: Tensor, bias_KC: Tensor) -> Tensor:
    """Return x[b, k] head[k] + bias[k], (B, K, C)."""
    x_KBD = x_BKD.transpose(0, 1)
    if x_BKD.device.type != "cpu" or torch.compiler.is_compiling():
        return torch.baddbmm(bias_KC.unsqueeze(1), x_KBD, head_KDC).transpose(0, 1)
    logits_BKC: Any = _Heads.apply(*cast(x_KBD, head_KDC, bias_KC))
    return logits_BKC


class _Heads(torch.autograd.Function):
    """Its gradient is made of operations of torch, so it has a gradient itself."""

    @staticmethod
    def forward(ctx: Any, x_KBD: Tensor, head_KDC: Tensor, bias_KC: Tensor) -> Tensor:
        ctx.save_for_backward(x_KBD, head_KDC)
        head_KCD = head_KDC.mT.contiguous()
        return torch.baddbmm(bias_KC.unsqueeze(2), head_KCD, x_KBD.mT).permute(2, 0, 1)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad_BKC: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        x_KBD, head_KDC = ctx.saved_tensors
        grad_KBC = grad_BKC.transpose(0, 1).contiguous()
        grad_KCB = grad_BKC.permute(1, 2, 0).contiguous()
        return grad_KBC @ head_KDC.mT, (grad_KCB @ x_KBD).mT, grad_KCB.sum(2)
