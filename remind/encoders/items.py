"""Any number of items of a patient's modality to a few tokens, by attention.

T tokens, D width, V items, d width of an item, M modalities, m of them with items, B patients of a
batch, Q tokens per observed modality, H means of a token, S observed pairs of patient and modality.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.encoders.tokens import Tokens, observed


class ItemPlan(NamedTuple):
    """Which items are read, and where the tokens come from; int64.

    Attributes:
        owner_T, modality_T: of each token.
        item_V: the items that are read, pair after pair.
        pair_V: of each of them.
        place_V: of its modality among the m.
        num_S: items of every pair.
        start_S: the first of them.
    """

    owner_T: Tensor
    modality_T: Tensor
    item_V: Tensor
    pair_V: Tensor
    place_V: Tensor
    num_S: Tensor
    start_S: Tensor

    def repeat(self, times: int) -> "ItemPlan":
        """The plan where each item is so many, side by side, read all; on any device."""
        return self._replace(
            pair_V=self.pair_V.repeat_interleave(times),
            place_V=self.place_V.repeat_interleave(times),
            num_S=self.num_S * times,
            start_S=self.start_S * times,
        )


class ItemPool(nn.Module):
    """Q tokens per observed modality, each a sum of H attention-weighted means of its items.

        token_q = sum_h P_qh sum_v a_qhv W x_v,
        a_qhv = softmax over the items v of (k_mqh . x_v / sqrt(d))

    Every modality m has its own queries k_mqh (pooling by multi-head attention, Lee et al. 2019).
    Items are a set: their order is irrelevant, and only those of observed modalities are read.
    An observed modality without any item gives tokens of zeros.

    Args:
        modalities: indices of the modalities that have items.
        item_width: d.
        width: D.
        num_modalities: M of the cohort.
        num_tokens: Q.
        heads: H.
    """

    def __init__(
        self,
        modalities: Sequence[int],
        *,
        item_width: int,
        width: int,
        num_modalities: int,
        num_tokens: int = 2,
        heads: int = 1,
    ) -> None:
        super().__init__()
        self.modalities = sorted(modalities)
        self.num_tokens, self.heads = num_tokens, heads
        num_means = num_tokens * heads
        self.query_MQd = nn.Parameter(torch.randn(num_modalities, num_means, item_width))
        self.value = nn.Linear(item_width, item_width)
        scale = (num_means * item_width) ** -0.5
        project_QdD = torch.empty(num_means, item_width, width).uniform_(-1, 1) * scale
        self.project_QdD = nn.Parameter(project_QdD)

    def plan(self, owner_V: Tensor, modality_V: Tensor, present_BM: Tensor) -> ItemPlan:
        """Find the items that are read.

        Args:
            owner_V, modality_V: whose the items are, int64, on the host.
            present_BM: bool, on the host; items of other pairs are left out.
        """
        modality_m = torch.tensor(self.modalities)
        owner_S, place_S = observed(present_BM.index_select(1, modality_m))
        pair_Bm = torch.zeros(len(present_BM), len(modality_m), dtype=torch.int64)
        pair_Bm[owner_S, place_S] = torch.arange(len(owner_S))
        item_V = present_BM[owner_V, modality_V].nonzero().squeeze(1)
        place_V = torch.searchsorted(modality_m, modality_V[item_V])
        pair_V, order_V = pair_Bm[owner_V[item_V], place_V].sort(stable=True)
        num_S = torch.bincount(pair_V, minlength=len(owner_S))
        return ItemPlan(
            owner_T=owner_S.repeat_interleave(self.num_tokens),
            modality_T=modality_m[place_S].repeat_interleave(self.num_tokens),
            item_V=item_V[order_V],
            pair_V=pair_V,
            place_V=place_V[order_V],
            num_S=num_S,
            start_S=num_S.cumsum(0) - num_S,
        )

    def forward(self, x_Vd: Tensor, plan: ItemPlan) -> Tokens:
        """Pool the items that are read, in the order of the plan."""
        pooled_SQd = self._pool(x_Vd, plan)
        x_SQD = torch.einsum("sqd,qde->sqe", pooled_SQd, self.project_QdD)
        if self.heads > 1:
            x_SQD = x_SQD.unflatten(1, (self.num_tokens, self.heads)).sum(2)
        return Tokens(x_SQD.flatten(0, 1), plan.owner_T, plan.modality_T)

    def _pool(self, x_Vd: Tensor, plan: ItemPlan) -> Tensor:
        """Means (S, Q, d) of the items of each pair under its softmax."""
        score_VQ = self._scores(x_Vd, plan.place_V) / x_Vd.shape[1] ** 0.5
        index_VQ = plan.pair_V[:, None].expand_as(score_VQ)
        top_SQ = score_VQ.new_full((len(plan.num_S), score_VQ.shape[1]), -torch.inf)
        top_SQ = top_SQ.scatter_reduce(0, index_VQ, score_VQ.detach(), "amax")
        weight_VQ = (score_VQ - top_SQ.index_select(0, plan.pair_V)).exp()
        total_SQ = torch.zeros_like(top_SQ).index_add(0, plan.pair_V, weight_VQ)
        share_VQ = weight_VQ / total_SQ.index_select(0, plan.pair_V)
        places_V = torch.arange(len(x_Vd), device=x_Vd.device)
        mean_SQd = torch.stack(
            [
                F.embedding_bag(
                    places_V,
                    x_Vd,
                    plan.start_S,
                    mode="sum",
                    per_sample_weights=share_V.contiguous(),
                )
                for share_V in share_VQ.unbind(1)
            ],
            dim=1,
        )
        # The mean of values is the value of the mean; where there is no item, there is none.
        return self.value(mean_SQd) * (plan.num_S > 0)[:, None, None]

    def _scores(self, x_Vd: Tensor, place_V: Tensor) -> Tensor:
        """Products (V, Q) of items with the queries of their modalities."""
        query_mQd = torch.stack([self.query_MQd[m] for m in self.modalities])
        score_VmQ = (x_Vd @ query_mQd.flatten(0, 1).mT).unflatten(1, query_mQd.shape[:2])
        if len(query_mQd) == 1:
            return score_VmQ[:, 0]
        return score_VmQ[torch.arange(len(place_V), device=place_V.device), place_V]
