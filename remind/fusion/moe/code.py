"""The group code: what a combination of modalities says to the routing and to the experts.

M modalities, G training groups, U combinations of the batch with S distinct groups, R rank, A width
of the set network.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from remind.fusion.context import GroupContext
from remind.world import num_ranks

SET_WIDTH = 4  # width of the set network, in ranks
MANY = 4096  # training groups from which on a step touches those of its batch only


class Coded(NamedTuple):
    """What a batch is told of its groups.

    Attributes:
        code_UR: code of every combination.
        delta_SR: residuals of the training groups of the batch, read once, for ``shrinkage``; None
            where it is the sum over all groups.
    """

    code_UR: Tensor
    delta_SR: Tensor | None


class GroupCode(nn.Module):
    """One vector per combination: a function of the set, plus a free residual of a seen group.

        c_g = rho(sum of a_m over m in S_g, |S_g| / M) + sum over m of (1[m in S_g] - 1/2) b_m
              + delta_g

    The set part (DeepSets, Zaheer et al. 2017, and its first order, which is learned sooner) exists
    for every one of the 2^M combinations, so an unseen one has a code as well. delta_g starts at
    zero, is zero for an unseen group, and is shrunk the harder the fewer patients the group has.
    Parameters: O(M + G), never O(2^M).

    With more than ``MANY`` groups a step touches the residuals of its batch only: their gradient
    is sparse, ``delta_GR`` is marked ``by_rows`` for the optimizer, and the prior is estimated from
    the batch. (With several ranks they stay dense, as data parallelism wants them.)

    Args:
        num_modalities: M.
        counts_G: training patients of every group, int64, all >= 1.
        rank: R.

    Raises:
        ValueError: no group, or a count below 1.
    """

    share_G: Tensor
    seen_share_G: Tensor

    def __init__(self, num_modalities: int, counts_G: Tensor, rank: int) -> None:
        super().__init__()
        if not len(counts_G) or int(counts_G.min()) < 1:
            raise ValueError(
                f"counts_G must hold counts of at least 1, got {counts_G.tolist()[:9]}"
            )
        set_width = SET_WIDTH * rank
        self.member_MA = nn.Parameter(torch.randn(num_modalities, set_width) / num_modalities**0.5)
        self.linear_MR = nn.Parameter(torch.randn(num_modalities, rank) / num_modalities**0.5)
        self.rho = nn.Sequential(
            nn.Linear(set_width + 1, set_width), nn.SiLU(), nn.Linear(set_width, rank)
        )
        self.delta_GR = nn.Parameter(torch.zeros(len(counts_G), rank))
        mean_count = counts_G.double().mean()
        self.register_buffer("share_G", (counts_G / mean_count).float(), persistent=False)
        self.by_rows = len(counts_G) > MANY and num_ranks() == 1
        if self.by_rows:
            self.delta_GR.by_rows = True  # pyright: ignore[reportAttributeAccessIssue]
            seen_share_G = (counts_G / counts_G.sum()).float()
            self.register_buffer("seen_share_G", seen_share_G, persistent=False)

    def forward(self, context: GroupContext) -> Coded:
        """Return the codes of the combinations of a batch, and the residuals of its groups."""
        present_UM = context.present_UM.to(self.member_MA.dtype)
        size_U1 = present_UM.mean(1, keepdim=True)
        set_UR = self.rho(torch.cat([present_UM @ self.member_MA, size_U1], dim=1))
        set_UR = set_UR + (present_UM - 0.5) @ self.linear_MR
        if not self.by_rows:
            return Coded(set_UR + seen_rows(self.delta_GR, context.group_U), None)
        delta_SR: Tensor = _rows(self.delta_GR, context.seen_S)
        unseen_1R = delta_SR.new_zeros(1, delta_SR.shape[1])
        delta_UR = torch.cat([delta_SR, unseen_1R]).index_select(0, context.place_U)
        return Coded(set_UR + delta_UR, delta_SR)

    def shrinkage(self, coded: Coded, context: GroupContext) -> Tensor:
        """Return sum over groups of ||delta_g||^2 * mean count / n_g: a hierarchical prior.

        It is the full sum over the training groups, O(G R). With more than ``MANY`` of them it is
        an estimate from those of the batch, each divided by the probability that a batch of B
        patients drawn at random holds it, 1 - (1 - n_g / N)^B: right on average, O(S R).

        Args:
            coded: of ``forward``.
            context: of the same batch.
        """
        if coded.delta_SR is None:
            return (self.delta_GR.square().sum(1) / self.share_G).sum()
        share_S, seen_share_S = (
            share_G.index_select(0, context.seen_S) for share_G in (self.share_G, self.seen_share_G)
        )
        missed_S = torch.log1p(-seen_share_S) * len(context.combo_B)
        return (coded.delta_SR.square().sum(1) / (share_S * -torch.expm1(missed_S))).sum()


def seen_rows(table_GX: Tensor, group_U: Tensor) -> Tensor:
    """Return the rows of a table of training groups (G, ...), zeros for the unseen group -1."""
    rows_UX = table_GX.index_select(0, group_U.clamp(min=0))
    unseen_U = (group_U < 0).view(-1, *[1] * (rows_UX.dim() - 1))
    return rows_UX.masked_fill(unseen_U, 0.0)


class _Rows(torch.autograd.Function):
    """Distinct rows of a table (G, X), in order; the table's gradient is sparse.

    PyTorch's own (``F.embedding``) does not know that they are distinct: whoever reads its gradient
    must sort it, which waits for the device.
    """

    @staticmethod
    def forward(ctx: Any, table_GX: Tensor, row_S: Tensor) -> Tensor:
        ctx.save_for_backward(row_S)
        ctx.shape = table_GX.shape
        return table_GX.index_select(0, row_S)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad_SX: Tensor
    ) -> tuple[Tensor, None]:
        (row_S,) = ctx.saved_tensors
        gradient = torch.sparse_coo_tensor(
            row_S.unsqueeze(0), grad_SX, ctx.shape, check_invariants=False, is_coalesced=True
        )
        return gradient, None


def _rows(table_GX: Tensor, row_S: Tensor) -> Any:
    return _Rows.apply(table_GX, row_S)
