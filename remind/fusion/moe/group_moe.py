"""GroupMoE: experts shared by all groups, composed by each group in its own way.

T tokens, D width, H hidden, E experts, K experts per token, B patients, U combinations of the
batch, G training groups, M modalities, R rank.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from remind.errors import InputError
from remind.fusion.checks import check_at_least, check_one_of
from remind.fusion.context import GroupContext
from remind.fusion.moe.activations import ACTIVATIONS
from remind.fusion.moe.balance import imbalance, information
from remind.fusion.moe.code import Coded, GroupCode
from remind.fusion.moe.experts import Experts, Modulation
from remind.fusion.moe.gate import GATES
from remind.fusion.moe.router import GroupRouter, Routing, Terms, choose
from remind.fusion.packing import Packing


class Routed(NamedTuple):
    """What a mixture of experts returns.

    Attributes:
        x_TD: mixed tokens.
        penalty: what training adds to the loss, a scalar, already weighted; 0 where no gradient
            follows.
    """

    x_TD: Tensor
    penalty: Tensor


@dataclass(frozen=True, kw_only=True)
class MoEConfig:
    """Size and terms of a ``GroupMoE``.

    Attributes:
        experts: number of experts, E.
        top_k: experts per token, K, in 1..E.
        hidden: hidden width of an expert, H.
        activation: "silu", "gelu", "relu" or "swiglu".
        rank: width of the group code, R; 0 makes it a plain mixture of experts, blind to groups.
        gate: entropy gate of the group's logits: "none", "shared" or "group".
        modulation: whether a group also scales the hidden activations of the experts.
        shared_expert: whether one more expert serves every token.
        balance: weight of the imbalance of the experts over the batch.
        information: weight of the reward for I(combination; expert), per nat.
        shrinkage: weight of the prior that draws the residuals of small groups to zero.
    """

    experts: int = 16
    top_k: int = 2
    hidden: int = 256
    activation: str = "silu"
    rank: int = 8
    gate: str = "none"
    modulation: bool = False
    shared_expert: bool = False
    balance: float = 0.01
    information: float = 0.0
    shrinkage: float = 1e-3

    def __post_init__(self) -> None:
        check_at_least(1, experts=self.experts, hidden=self.hidden)
        check_at_least(0, rank=self.rank, balance=self.balance)
        check_at_least(0, information=self.information, shrinkage=self.shrinkage)
        check_one_of(ACTIVATIONS, activation=self.activation)
        check_one_of(GATES, gate=self.gate)
        if not 1 <= self.top_k <= self.experts:
            raise InputError(f"top_k must be in 1..{self.experts}, got {self.top_k}")
        if not self.rank and (self.modulation or self.gate != "none"):
            raise InputError("modulation and gate need a group code: set rank to at least 1, got 0")


class GroupMoE(nn.Module):
    """Mixture of experts whose routing is specialized to the modality combination of the patient.

    A token x of a patient of group g gets the sum of its K experts e, weighted by their gates:

        gates = top_k(softmax(x Phi + alpha(x) * (((x U) * c_g) V + c_g B)))
        out = sum_e gate_e * (f(x W1_e) * (1 + c_g W)) W2_e  [+ the shared expert of x]

    with the group code c_g of ``GroupCode`` (method 3.3). Any of the 2^M combinations is served;
    the cost grows with observed tokens times K, the parameters with E, M and G R.

    Args:
        width: D.
        config: sizes and terms.
        num_modalities: M.
        counts_G: training patients of every group, int64, all >= 1.

    Example:
        >>> moe = GroupMoE(8, MoEConfig(), num_modalities=2, counts_G=torch.tensor([40, 3]))
        >>> present_BM = torch.tensor([[True, True], [False, True]])
        >>> context = GroupContext.from_batch(present_BM, group_B=torch.tensor([0, -1]))
        >>> moe(torch.randn(3, 8), Packing.of(torch.tensor([0, 0, 1])), context).x_TD.shape
        torch.Size([3, 8])
    """

    def __init__(
        self, width: int, config: MoEConfig, *, num_modalities: int, counts_G: Tensor
    ) -> None:
        super().__init__()
        self.config = config
        self.router = GroupRouter(width, config.experts, config.rank, config.gate)
        self.experts = Experts(width, config.hidden, config.experts, config.activation)
        self.code = GroupCode(num_modalities, counts_G, config.rank) if config.rank else None
        if config.modulation:
            self.scale_RH = nn.Parameter(torch.zeros(config.rank, config.hidden))
        if config.shared_expert:
            self.shared = Experts(width, config.hidden, 1, config.activation)

    def forward(self, x_TD: Tensor, packing: Packing, context: GroupContext) -> Routed:
        """Mix packed tokens (T, D), each by the experts that its patient's group composes."""
        combo_T = context.combo_of(packing.owner_T)
        coded = None if self.code is None else self.code(context)
        code_UR = None if coded is None else coded.code_UR
        routing = choose(self.router(x_TD, code_UR, combo_T), self.config.top_k)
        modulation = None
        if self.config.modulation and code_UR is not None:
            modulation = Modulation(1 + code_UR @ self.scale_RH, combo_T)
        out_TD = self.experts(x_TD, routing.index_TK, routing.gates_TK, modulation)
        if self.config.shared_expert:
            out_TD = out_TD + self.shared.in_turn(x_TD)
        return Routed(out_TD, self._penalty(routing, coded, combo_T, context))

    def route(self, x_TD: Tensor, packing: Packing, context: GroupContext) -> Routing:
        """Return where packed tokens (T, D) would go."""
        return choose(self.terms(x_TD, packing, context).logits_TE, self.config.top_k)

    def terms(self, x_TD: Tensor, packing: Packing, context: GroupContext) -> Terms:
        """Return the routing logits of packed tokens (T, D) with their parts."""
        code_UR = None if self.code is None else self.code(context).code_UR
        return self.router.terms(x_TD, code_UR, context.combo_of(packing.owner_T))

    def _penalty(
        self, routing: Routing, coded: Coded | None, combo_T: Tensor, context: GroupContext
    ) -> Tensor:
        """Return the weighted terms that the configuration asks for."""
        config = self.config
        penalty = routing.probs_TE.new_zeros(())
        if not torch.is_grad_enabled():  # nobody reads it
            return penalty
        if config.balance:
            penalty = penalty + config.balance * imbalance(routing.probs_TE, routing.index_TK)
        if config.information:
            reward = information(routing.probs_TE, combo_T, len(context.group_U))
            penalty = penalty - config.information * reward
        if config.shrinkage and self.code is not None and coded is not None:
            penalty = penalty + config.shrinkage * self.code.shrinkage(coded, context)
        return penalty
