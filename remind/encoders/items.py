"""Any number of items of a patient's modality to a few tokens, by attention.

T tokens, D width, V items, d width of an item, M modalities, B patients of a batch, Q tokens per
observed modality, S observed pairs of patient and modality.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.encoders.tokens import Tokens, observed


class ItemPool(nn.Module):
    """Q tokens per observed modality, each the attention-weighted mean of its items.

        token_q = P_q sum_v a_qv W x_v,   a_qv = softmax over the items v of (k_mq . x_v / sqrt(d))

    Every modality m has its own queries k_mq (pooling by multi-head attention, Lee et al. 2019).
    Items are a set: their order is irrelevant, and only those of observed modalities are read.
    An observed modality without any item gives tokens of zeros.

    Args:
        modalities: indices of the modalities that have items.
        item_width: d.
        width: D.
        num_modalities: M of the cohort.
        num_tokens: Q.
    """

    has_items_M: Tensor

    def __init__(
        self,
        modalities: Sequence[int],
        *,
        item_width: int,
        width: int,
        num_modalities: int,
        num_tokens: int = 2,
    ) -> None:
        super().__init__()
        has_items_M = torch.zeros(num_modalities, dtype=torch.bool)
        has_items_M[list(modalities)] = True
        self.register_buffer("has_items_M", has_items_M, persistent=False)
        self.query_MQd = nn.Parameter(torch.randn(num_modalities, num_tokens, item_width))
        self.value = nn.Linear(item_width, item_width)
        scale = (num_tokens * item_width) ** -0.5
        project_QdD = torch.empty(num_tokens, item_width, width).uniform_(-1, 1) * scale
        self.project_QdD = nn.Parameter(project_QdD)

    def forward(
        self, x_Vd: Tensor, owner_V: Tensor, modality_V: Tensor, present_BM: Tensor
    ) -> Tokens:
        """Pool the items of a batch.

        Args:
            x_Vd: the items.
            owner_V, modality_V: whose they are, int64.
            present_BM: bool; items of other pairs are left out.
        """
        owner_S, modality_S = observed(present_BM & self.has_items_M)
        seen_V = present_BM[owner_V, modality_V].nonzero().squeeze(1)
        x_Vd, owner_V, modality_V = x_Vd[seen_V], owner_V[seen_V], modality_V[seen_V]
        segment_BM = torch.zeros_like(present_BM, dtype=torch.long)
        segment_BM[owner_S, modality_S] = torch.arange(len(owner_S), device=owner_S.device)
        segment_V = segment_BM[owner_V, modality_V]
        pooled_SQd = self._pool(x_Vd, segment_V, modality_V, len(owner_S))
        x_SQD = torch.einsum("sqd,qde->sqe", pooled_SQd, self.project_QdD)
        num_tokens = x_SQD.shape[1]
        return Tokens(
            x_SQD.flatten(0, 1),
            owner_S.repeat_interleave(num_tokens),
            modality_S.repeat_interleave(num_tokens),
        )

    def _pool(
        self, x_Vd: Tensor, segment_V: Tensor, modality_V: Tensor, num_segments: int
    ) -> Tensor:
        """Means (S, Q, d) of the items of each segment under its softmax."""
        if (segment_V.diff() < 0).any():
            order_V = segment_V.argsort()
            x_Vd, segment_V, modality_V = x_Vd[order_V], segment_V[order_V], modality_V[order_V]
        score_VQ = self._scores(x_Vd, modality_V) / x_Vd.shape[1] ** 0.5
        index_VQ = segment_V[:, None].expand_as(score_VQ)
        top_SQ = score_VQ.new_full((num_segments, score_VQ.shape[1]), -torch.inf)
        top_SQ = top_SQ.scatter_reduce(0, index_VQ, score_VQ.detach(), "amax")
        weight_VQ = (score_VQ - top_SQ[segment_V]).exp()
        total_SQ = torch.zeros_like(top_SQ).index_add(0, segment_V, weight_VQ)
        share_VQ = weight_VQ / total_SQ[segment_V]
        start_S = torch.searchsorted(segment_V, torch.arange(num_segments, device=x_Vd.device))
        places_V = torch.arange(len(x_Vd), device=x_Vd.device)
        mean_SQd = torch.stack(
            [
                F.embedding_bag(
                    places_V, x_Vd, start_S, mode="sum", per_sample_weights=share_V.contiguous()
                )
                for share_V in share_VQ.unbind(1)
            ],
            dim=1,
        )
        # The mean of values is the value of the mean; where there is no item, there is none.
        return self.value(mean_SQd) * (total_SQ > 0).unsqueeze(2)

    def _scores(self, x_Vd: Tensor, modality_V: Tensor) -> Tensor:
        """Products (V, Q) of items with the queries of their modalities."""
        modality_m = self.has_items_M.nonzero().squeeze(1)
        score_VmQ = (x_Vd @ self.query_MQd[modality_m].flatten(0, 1).mT).unflatten(
            1, (len(modality_m), -1)
        )
        if len(modality_m) == 1:
            return score_VmQ[:, 0]
        m_V = torch.searchsorted(modality_m, modality_V)
        return score_VmQ[torch.arange(len(m_V), device=m_V.device), m_V]
