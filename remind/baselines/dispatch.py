"""Dispatch: tokens to the experts that a router chose for them, in either of two ways.

"grouped" is the way of our own experts. "loop" is what public code of Flex-MoE and FuseMoE does:
every expert in turn picks its tokens, and one scatter adds up what the experts made of them. Both
give the same numbers; the second is there as a reference of speed.

T tokens, K experts per token, D width, E experts; N tokens of one expert, P = T K pairs.
"""

import torch
from torch import Tensor

from remind.fusion.moe import Experts

DISPATCHES = ("grouped", "loop")


def dispatch(
    experts: Experts, x_TD: Tensor, index_TK: Tensor, gates_TK: Tensor, way: str
) -> Tensor:
    """Return the weighted sums of the chosen experts (T, D).

    Args:
        experts: all of them.
        x_TD: tokens.
        index_TK: chosen experts, int64; those of one token are distinct.
        gates_TK: their weights.
        way: of ``DISPATCHES``.
    """
    if way == "grouped":
        return experts(x_TD, index_TK, gates_TK)
    return _loop(experts, x_TD, index_TK, gates_TK)


def _loop(experts: Experts, x_TD: Tensor, index_TK: Tensor, gates_TK: Tensor) -> Tensor:
    """Mix the experts by a loop over them."""
    tokens, outputs = [], []
    for expert, (w1_DF, w2_HD) in enumerate(zip(experts.w1_EDF, experts.w2_EHD, strict=True)):
        token_N, choice_N = (index_TK == expert).nonzero(as_tuple=True)
        y_ND = experts.activation.forward(x_TD[token_N] @ w1_DF) @ w2_HD
        tokens.append(token_N)
        outputs.append(y_ND * gates_TK[token_N, choice_N].unsqueeze(1))
    y_PD = torch.cat(outputs)
    return y_PD.new_zeros(x_TD.shape).index_add(0, torch.cat(tokens), y_PD)
