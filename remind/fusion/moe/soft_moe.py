"""SoftGroupMoE: the paper's layer, a Soft-MoE whose routing matrix each group corrects.

T tokens, D width, H hidden, E experts, G training groups, S of them in the batch, P = S + 1, B
patients; b patients of one bucket, n tokens of each.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.errors import InputError
from remind.fusion.checks import check_at_least, check_one_of
from remind.fusion.context import GroupContext
from remind.fusion.moe.activations import ACTIVATIONS
from remind.fusion.moe.experts import Experts
from remind.fusion.moe.gate import GATES, entropy_gate
from remind.fusion.moe.group_moe import Routed
from remind.fusion.moe.grouped import linear_by_group
from remind.fusion.moe.router import Terms
from remind.fusion.packing import Packing


@dataclass(frozen=True, kw_only=True)
class SoftMoEConfig:
    """Size of a ``SoftGroupMoE``.

    Attributes:
        experts: number of experts, E, one slot each.
        hidden: hidden width of an expert, H.
        activation: "silu", "gelu", "relu" or "swiglu".
        gate: entropy gate of the group's residual: "none", "shared" or "group".
    """

    experts: int = 128
    hidden: int = 256
    activation: str = "gelu"
    gate: str = "shared"

    def __post_init__(self) -> None:
        check_at_least(1, experts=self.experts, hidden=self.hidden)
        check_one_of(ACTIVATIONS, activation=self.activation)
        check_one_of(GATES, gate=self.gate)


class SoftGroupMoE(nn.Module):
    """Soft mixture of experts with a residual routing matrix per group: the paper's form.

    For the tokens X of one patient of group g, normalized to length 1:

        logits = s X (Phi + alpha(X) DeltaPhi_g)       Phi with columns of length 1, s learned
        slot_e = sum_t softmax_t(logits)[t, e] X[t]
        out[t] = sum_e softmax_e(logits)[t, e] FFN_e(slot_e)

    (Method 3.3; Puigcerver et al. 2024, algorithm 1; arXiv:2603.00046, equations 7 and 8.)
    DeltaPhi is free, G D E parameters; an unseen group has none and falls back to Phi. It starts at
    zero, or random with gate ``group``, whose gradient is zero at zero. Training has two stages:
    ``set_stage(2)`` switches the residuals on; before, they get no gradient.

    Args:
        width: D.
        config: sizes and gate.
        num_groups: G, at least 1.

    Raises:
        InputError: ``num_groups`` below 1.
    """

    stage: Tensor

    def __init__(self, width: int, config: SoftMoEConfig, *, num_groups: int) -> None:
        super().__init__()
        check_at_least(1, num_groups=num_groups)
        self.config = config
        self.experts = Experts(width, config.hidden, config.experts, config.activation)
        self.shared_DE = nn.Parameter(torch.randn(width, config.experts) / width**0.5)
        self.scale = nn.Parameter(torch.ones(()))
        start = torch.randn if config.gate == "group" else torch.zeros
        self.residual_GDE = nn.Parameter(start(num_groups, width, config.experts))
        self.register_buffer("stage", torch.tensor(1))
        self.is_corrected = False  # stage 2, on the host: asking the buffer would wait for CUDA

    def set_stage(self, stage: int) -> None:
        """Train shared routing alone (1), or with the groups' residuals (2)."""
        if stage not in (1, 2):
            raise InputError(f"stage must be 1 or 2, got {stage}")
        self.stage.fill_(stage)
        self.is_corrected = stage == 2

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.is_corrected = int(self.stage) == 2

    def forward(self, x_TD: Tensor, packing: Packing, context: GroupContext) -> Routed:
        """Mix packed tokens (T, D) inside each patient; there is no penalty."""
        tokens = packing.split(F.normalize(x_TD, dim=-1))
        logits = packing.split(self.terms(x_TD, packing, context).logits_TE)
        buckets = zip(tokens, logits, packing.absent(), strict=True)
        slots = [_dispatch(l_bnE, no_bn).mT @ x_bnD for x_bnD, l_bnE, no_bn in buckets]
        slots_BED = torch.cat(slots)
        y_BED = self.experts.in_turn(slots_BED.flatten(0, 1)).view_as(slots_BED)
        outputs = y_BED.split([len(slots_bED) for slots_bED in slots])
        mixed = [l_bnE.softmax(2) @ y_bED for l_bnE, y_bED in zip(logits, outputs, strict=True)]
        return Routed(packing.join(mixed), x_TD.new_zeros(()))

    def route(self, x_TD: Tensor, packing: Packing, context: GroupContext) -> Tensor:
        """Return the combine weights (T, E): the share of every expert in the output of a token."""
        return self.terms(x_TD, packing, context).logits_TE.softmax(-1)

    def terms(self, x_TD: Tensor, packing: Packing, context: GroupContext) -> Terms:
        """Return the routing logits of packed tokens (T, D) with their parts."""
        x_TD = F.normalize(x_TD, dim=-1)
        shared_TE = x_TD @ (self.scale * F.normalize(self.shared_DE, dim=0))
        if not self.is_corrected:
            return Terms(shared_TE, None, shared_TE)
        # One matrix per training group of the batch, and one of zeros for all who have none.
        residual_SDE = self.scale * self.residual_GDE.index_select(0, context.seen_S)
        residual_PDE = F.pad(residual_SDE, (0, 0, 0, 0, 0, 1))
        place_B = context.place_U.index_select(0, context.combo_B)
        group_TE = linear_by_group(x_TD, residual_PDE, place_B.index_select(0, packing.owner_T))
        alpha = entropy_gate(self.config.gate, shared_TE, group_TE)
        return Terms(shared_TE, group_TE, shared_TE + alpha * group_TE)


def _dispatch(logits_bnE: Tensor, absent_bn: Tensor | None) -> Tensor:
    """Return the share (b, n, E) of every token in every slot."""
    if absent_bn is not None:
        logits_bnE = logits_bnE.masked_fill(absent_bn.unsqueeze(-1), -math.inf)
    return logits_bnE.softmax(1)
