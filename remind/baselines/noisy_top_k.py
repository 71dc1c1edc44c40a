"""Noisy top-k routing, and what keeps it balanced.

    l       = h W + eps (softplus(h W_n) + delta)       eps ~ N(0, 1) in training, 0 otherwise
    gates   = softmax of the k largest l, 0 elsewhere
    P_te    = Phi((h W - kth largest l of the other experts) / (softplus(h W_n) + delta))
    balance = CV^2(sum over t of gates) + CV^2(sum over t of P_t)

Shazeer et al. 2017, equations 3 to 5 and 6 to 11; P_te is the probability that token t goes to
expert e if the noise of e alone is drawn again, which makes the load differentiable.

T tokens, D width, E experts, K experts per token; S sets of tokens.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DELTA = 1e-2  # least standard deviation of the noise


class NoisyRouting(NamedTuple):
    """Where tokens go.

    Attributes:
        gates_TK: weights of the chosen experts, sum 1.
        index_TK: the chosen experts, int64, largest weight first.
        clean_TE: logits without noise.
        noisy_TE: logits with it, which chose; the same outside of training.
        scale_TE: standard deviation of the noise; None for a router that has none.
    """

    gates_TK: Tensor
    index_TK: Tensor
    clean_TE: Tensor
    noisy_TE: Tensor
    scale_TE: Tensor | None

    def gates_TE(self) -> Tensor:
        """Return the weights of all experts (T, E)."""
        return torch.zeros_like(self.clean_TE).scatter(1, self.index_TK, self.gates_TK)

    def load_TE(self) -> Tensor:
        """Return the probabilities P of the tokens to go to each expert (T, E).

        Without noise they are 0 or 1, and pass no gradient.
        """
        (num_tokens, num_experts), top_k = self.clean_TE.shape, self.index_TK.shape[1]
        if top_k == num_experts:
            return self.clean_TE.new_ones(num_tokens, num_experts)
        is_chosen_TE = torch.zeros_like(self.clean_TE, dtype=torch.bool)
        is_chosen_TE = is_chosen_TE.scatter(1, self.index_TK, True)
        if self.scale_TE is None:
            return is_chosen_TE.to(self.clean_TE.dtype)
        best_TX = self.noisy_TE.topk(top_k + 1, dim=1).values
        least_TE = torch.where(is_chosen_TE, best_TX[:, -1:], best_TX[:, -2:-1])
        return torch.special.ndtr((self.clean_TE - least_TE) / self.scale_TE)


class NoisyTopK(nn.Module):
    """The router above; W_n starts at zero.

    Args:
        width: D.
        num_experts: E.
        top_k: K.
    """

    def __init__(self, width: int, num_experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.gate_DE = nn.Parameter(torch.randn(width, num_experts) / width**0.5)
        self.noise_DE = nn.Parameter(torch.zeros(width, num_experts))

    def forward(self, x_TD: Tensor) -> NoisyRouting:
        """Route tokens (T, D)."""
        dtype = torch.promote_types(x_TD.dtype, torch.float32)  # of autocast: no 16 bits from here
        clean_TE = (x_TD @ self.gate_DE).to(dtype)
        raw_TE = (x_TD @ self.noise_DE).to(dtype)
        return route(clean_TE, raw_TE, self.top_k, is_training=self.training)


def route(
    clean_TE: Tensor, raw_TE: Tensor | None, top_k: int, *, is_training: bool
) -> NoisyRouting:
    """Choose the experts of every token by the logits.

    Args:
        clean_TE: logits without noise.
        raw_TE: whose softplus, and DELTA, is the standard deviation of the noise; None is no noise.
        top_k: K.
        is_training: whether there is noise.
    """
    scale_TE = None if raw_TE is None else F.softplus(raw_TE) + DELTA
    noisy_TE = clean_TE
    if is_training and scale_TE is not None:
        noisy_TE = clean_TE + torch.randn_like(clean_TE) * scale_TE
    best_TK, index_TK = noisy_TE.topk(top_k, dim=1)
    return NoisyRouting(best_TK.softmax(1), index_TK, clean_TE, noisy_TE, scale_TE)


def imbalance(routing: NoisyRouting, weight_ST: Tensor) -> Tensor:
    """Return the balance term, summed over sets of tokens; an empty set adds nothing.

    Args:
        routing: of all tokens.
        weight_ST: weight of every token in each set, 0 or 1.
    """
    weight_ST = weight_ST.to(routing.clean_TE.dtype)
    sums_SE = torch.cat([weight_ST @ routing.gates_TE(), weight_ST @ routing.load_TE()])
    return squared_variation(sums_SE).sum()


def squared_variation(x_SE: Tensor) -> Tensor:
    """Return the variance over the squared mean of every row (S,); 0 for a row of zeros."""
    tiny = torch.finfo(x_SE.dtype).tiny
    return x_SE.var(1, correction=0) / x_SE.mean(1).square().clamp_min(tiny)
