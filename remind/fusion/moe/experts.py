"""Experts on packed tokens: every chosen token-expert pair is computed once, and nothing else is.

T tokens, K experts per token, P = T K pairs sorted by expert; D width, H hidden, F = H (2H for
gated units), E experts, U combinations.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from remind.autocast import cast
from remind.fusion.moe.activations import ACTIVATIONS
from remind.fusion.moe.grouped import Pairs, mix_experts


class Modulation(NamedTuple):
    """Factors on the hidden activations, one row per combination.

    Attributes:
        scale_UH: factors; 1 changes nothing.
        combo_T: row of every token.
    """

    scale_UH: Tensor
    combo_T: Tensor


class Experts(nn.Module):
    """E two-layer feed-forward networks without biases; a token gets a weighted sum of K of them.

    out[t] = sum_k gate[t, k] * (f(x[t] W1_e) * scale[t]) W2_e   with e = index[t, k]

    Args:
        width: D.
        hidden: H.
        num_experts: E.
        activation: f, a name of ``ACTIVATIONS``.
    """

    def __init__(self, width: int, hidden: int, num_experts: int, activation: str = "silu") -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.w1_EDF = nn.Parameter(torch.empty(num_experts, width, hidden * self.activation.inputs))
        self.w2_EHD = nn.Parameter(torch.empty(num_experts, hidden, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights as ``nn.Linear`` does: uniform in +-1 / sqrt(inputs)."""
        for w in (self.w1_EDF, self.w2_EHD):
            nn.init.uniform_(w, -(w.shape[1] ** -0.5), w.shape[1] ** -0.5)

    def forward(
        self,
        x_TD: Tensor,
        index_TK: Tensor,
        gates_TK: Tensor,
        modulation: Modulation | None = None,
    ) -> Tensor:
        """Mix the chosen experts.

        Args:
            x_TD: packed tokens.
            index_TK: chosen experts, int64; those of one token are distinct.
            gates_TK: their weights.
            modulation: factors on the hidden activations, or None.

        Returns:
            (T, D), in the dtype of autocast where that is on.
        """
        combo_T, scale_UH = None, None
        if modulation is not None:
            scale_UH, combo_T = modulation
            (scale_UH,) = cast(scale_UH)
        x_TD, gates_TK, w1_EDF, w2_EHD = cast(x_TD, gates_TK, self.w1_EDF, self.w2_EHD)
        pairs = Pairs.of(index_TK, gates_TK, len(w1_EDF), combo_T)
        return mix_experts(x_TD, w1_EDF, w2_EHD, scale_UH, pairs, self.activation)

    def in_turn(self, x_TD: Tensor) -> Tensor:
        """Return f(x W1_e) W2_e with the experts in turn: row t of x_TD goes to e = t mod E."""
        num_experts = len(self.w1_EDF)
        index_T1 = (torch.arange(len(x_TD), device=x_TD.device) % num_experts).unsqueeze(1)
        return self(x_TD, index_T1, torch.ones_like(index_T1, dtype=x_TD.dtype))
