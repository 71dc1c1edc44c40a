"""The group code: what a combination of modalities says to the routing and to the experts.

M modalities, G training groups, U combinations of the batch, R rank, A width of the set network.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.fusion.context import GroupContext
from remind.world import num_ranks

SET_WIDTH = 4  # width of the set network, in ranks
MANY = 4096  # training groups from which on a step touches those of its batch only


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

    def forward(self, context: GroupContext) -> Tensor:
        """Return the codes (U, R) of the combinations of a batch."""
        present_UM = context.present_UM.to(self.member_MA.dtype)
        size_U1 = present_UM.mean(1, keepdim=True)
        set_UR = self.rho(torch.cat([present_UM @ self.member_MA, size_U1], dim=1))
        set_UR = set_UR + (present_UM - 0.5) @ self.linear_MR
        return set_UR + seen_rows(self.delta_GR, context.group_U, sparse=self.by_rows)

    def shrinkage(self, context: GroupContext) -> Tensor:
        """Return sum over groups of ||delta_g||^2 * mean count / n_g: a hierarchical prior.

        It is the full sum over the training groups, O(G R). With more than ``MANY`` of them it is
        an estimate from those of the batch, each divided by the probability that a batch of B
        patients drawn at random holds it, 1 - (1 - n_g / N)^B: right on average, O(U R).
        """
        if not self.by_rows:
            return (self.delta_GR.square().sum(1) / self.share_G).sum()
        group_U = context.group_U
        delta_UR = seen_rows(self.delta_GR, group_U, sparse=True)
        index_U = group_U.clamp(min=0)
        missed_U = torch.log1p(-self.seen_share_G.index_select(0, index_U)) * len(context.combo_B)
        weight_U = self.share_G.index_select(0, index_U) * -torch.expm1(missed_U)
        return (delta_UR.square().sum(1) / weight_U).sum()


def seen_rows(table_GX: Tensor, group_U: Tensor, *, sparse: bool = False) -> Tensor:
    """Return the rows of a table of training groups (G, ...), zeros for the unseen group -1.

    Args:
        table_GX: two axes if ``sparse``.
        group_U: training groups, -1 unseen.
        sparse: whether the gradient of the table is sparse.
    """
    index_U = group_U.clamp(min=0)
    if sparse:
        rows_UX = F.embedding(index_U, table_GX, sparse=True)
    else:
        rows_UX = table_GX.index_select(0, index_U)
    unseen_U = (group_U < 0).view(-1, *[1] * (rows_UX.dim() - 1))
    return rows_UX.masked_fill(unseen_U, 0.0)
