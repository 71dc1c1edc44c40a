"""Self-attention inside each patient, on packed tokens.

T tokens, D width; b patients of one bucket, n tokens of each, h heads, d width of a head.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from remind.errors import InputError
from remind.fusion.packing import Packing


class Attention(nn.Module):
    """Multi-head self-attention where a token sees the tokens of its own patient only.

    Patients of equal token count form dense buckets, so nothing is padded or masked: the fastest of
    the ways compared in ``benchmarks/attention.py``, and the same code on CPU and CUDA.

    Args:
        width: D.
        num_heads: divides ``width``.
        dropout: share of attention weights dropped in training, in [0, 1).

    Raises:
        InputError: ``num_heads`` does not divide ``width``, or ``dropout`` is outside [0, 1).
    """

    def __init__(self, width: int, num_heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        if num_heads < 1 or width % num_heads:
            raise InputError(f"num_heads must divide width {width}, got {num_heads}")
        if not 0 <= dropout < 1:
            raise InputError(f"dropout must be in [0, 1), got {dropout}")
        self.num_heads = num_heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_TD: Tensor, packing: Packing) -> Tensor:
        """Attend: packed tokens (T, D) to packed tokens (T, D)."""
        buckets = zip(packing.split(x_TD), packing.absent(), strict=True)
        return self.out(packing.join([self._attend(x_bnD, no_bn) for x_bnD, no_bn in buckets]))

    def _attend(self, x_bnD: Tensor, absent_bn: Tensor | None) -> Tensor:
        """Attend inside one bucket: (b, n, D) to (b, n, D), before the output projection."""
        q_bhnd, k_bhnd, v_bhnd = (
            self.qkv(x_bnD).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        )
        dropout = self.dropout if self.training else 0.0
        mask = None if absent_bn is None else ~absent_bn[:, None, None, :]
        out_bhnd = F.scaled_dot_product_attention(
            q_bhnd, k_bhnd, v_bhnd, attn_mask=mask, dropout_p=dropout
        )
        return out_bhnd.transpose(1, 2).flatten(-2)
