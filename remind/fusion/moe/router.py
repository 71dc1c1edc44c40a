"""Group routing: which experts a token goes to, given who is observed in what.

T tokens, D width, E experts, K experts per token, U combinations of the batch, R rank.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from remind.fusion.moe.gate import entropy_gate


class Routing(NamedTuple):
    """Where tokens go.

    Attributes:
        gates_TK: weights of the chosen experts.
        index_TK: the chosen experts, int64, largest weight first.
        probs_TE: probabilities over all experts.
    """

    gates_TK: Tensor
    index_TK: Tensor
    probs_TE: Tensor


class Terms(NamedTuple):
    """What routing logits are made of.

    Attributes:
        shared_TE: logits that all groups share.
        group_TE: logits of the group, before the entropy gate; None where there are none.
        logits_TE: both, as they are used.
    """

    shared_TE: Tensor
    group_TE: Tensor | None
    logits_TE: Tensor


class GroupRouter(nn.Module):
    """Logits of a token for the experts: a shared part, and a low-rank part of its group.

        l(x, g) = x Phi + alpha(x) * (((x U) * c_g) V + c_g B)

    V and B start at zero, so routing starts as that of a plain mixture of experts; with gate
    ``group``, whose gradient is zero there, they start random.

    Args:
        width: D.
        num_experts: E.
        rank: R, the width of the group code c_g; 0 routes all groups alike.
        gate: alpha, see ``entropy_gate``.
    """

    def __init__(self, width: int, num_experts: int, rank: int, gate: str) -> None:
        super().__init__()
        self.gate = gate
        self.shared_DE = nn.Parameter(torch.randn(width, num_experts) / width**0.5)
        if rank:
            self.down_DR = nn.Parameter(torch.randn(width, rank) / width**0.5)
            start = torch.randn if gate == "group" else torch.zeros
            self.up_RE = nn.Parameter(start(rank, num_experts))
            self.bias_RE = nn.Parameter(start(rank, num_experts))

    def forward(self, x_TD: Tensor, code_UR: Tensor | None, combo_T: Tensor) -> Tensor:
        """Return the logits (T, E); without a code the shared part alone."""
        return self.terms(x_TD, code_UR, combo_T).logits_TE

    def terms(self, x_TD: Tensor, code_UR: Tensor | None, combo_T: Tensor) -> Terms:
        """Return the logits with their parts."""
        if code_UR is None:
            shared_TE = x_TD @ self.shared_DE
            return Terms(shared_TE, None, shared_TE)
        both = x_TD @ torch.cat([self.shared_DE, self.down_DR], dim=1)
        shared_TE, down_TR = both.tensor_split([self.shared_DE.shape[1]], dim=1)
        group_TE = (down_TR * code_UR.index_select(0, combo_T)) @ self.up_RE
        group_TE = group_TE + (code_UR @ self.bias_RE).index_select(0, combo_T)
        logits_TE = shared_TE + entropy_gate(self.gate, shared_TE, group_TE) * group_TE
        return Terms(shared_TE, group_TE, logits_TE)


def choose(logits_TE: Tensor, top_k: int) -> Routing:
    """Choose the ``top_k`` likeliest experts of every token.

    Their gates are their probabilities, renormalized to sum 1; with ``top_k`` 1 they are left as
    they are, for a gate of constant 1 would teach the router nothing (Fedus et al. 2021).
    """
    probs_TE = logits_TE.softmax(-1)
    gates_TK, index_TK = probs_TE.topk(top_k, dim=-1)
    if top_k > 1:
        gates_TK = gates_TK / gates_TK.sum(-1, keepdim=True)
    return Routing(gates_TK, index_TK, probs_TE)
