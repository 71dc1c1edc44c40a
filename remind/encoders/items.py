"""Any number of items of a patient's modality to a few tokens, by attention.

T tokens, D width, V items, d width of an item, M modalities, B patients of a batch, Q tokens per
patient, H means of a token, S patients who are observed in the modality.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.encoders.tokens import Tokens


class ItemPlan(NamedTuple):
    """Which items are read, and where the tokens come from; int64.

    Attributes:
        owner_T, modality_T: of each token.
        item_V: the items that are read, patient after patient.
        patient_V: place among the S of the owner of each of them.
        num_S: items of every patient.
        start_S: the first of them.
    """

    owner_T: Tensor
    modality_T: Tensor
    item_V: Tensor
    patient_V: Tensor
    num_S: Tensor
    start_S: Tensor

    def repeat(self, times: int) -> "ItemPlan":
        """The plan where each item that is read has so many parts, side by side; on any device."""
        patient_V = self.patient_V.repeat_interleave(times)
        return self._replace(
            item_V=torch.arange(len(patient_V), device=patient_V.device),
            patient_V=patient_V,
            num_S=self.num_S * times,
            start_S=self.start_S * times,
        )


class ItemPool(nn.Module):
    """Q tokens per observed patient, each a sum of H attention-weighted means of the items.

        token_q = sum_h P_qh sum_v a_qhv W x_v,
        a_qhv = softmax over the items v of (k_qh . x_v / sqrt(d))

    The queries k_qh are learned (pooling by multi-head attention, Lee et al. 2019). Items are a
    set: their order is irrelevant. A patient without any item has tokens of zeros.

    Args:
        modality: index of the modality.
        item_width: d.
        width: D.
        num_tokens: Q.
        heads: H.
    """

    def __init__(
        self, modality: int, *, item_width: int, width: int, num_tokens: int = 2, heads: int = 1
    ) -> None:
        super().__init__()
        self.modality, self.num_tokens, self.heads = modality, num_tokens, heads
        num_means = num_tokens * heads
        self.query_Qd = nn.Parameter(torch.randn(num_means, item_width))
        self.value = nn.Linear(item_width, item_width)
        scale = (num_means * item_width) ** -0.5
        project_QdD = torch.empty(num_means, item_width, width).uniform_(-1, 1) * scale
        self.project_QdD = nn.Parameter(project_QdD)

    def plan(self, owner_V: Tensor, present_BM: Tensor) -> ItemPlan:
        """Find the items that are read.

        Args:
            owner_V: whose the items of the modality are, int64, on the host.
            present_BM: bool, on the host; items of patients who are not observed are left out.
        """
        present_B = present_BM[:, self.modality]
        owner_S = present_B.nonzero().squeeze(1)
        place_B = present_B.cumsum(0) - 1
        item_V = present_B[owner_V].nonzero().squeeze(1)
        patient_V, order_V = place_B[owner_V[item_V]].sort(stable=True)
        num_S = torch.bincount(patient_V, minlength=len(owner_S))
        owner_T = owner_S.repeat_interleave(self.num_tokens)
        return ItemPlan(
            owner_T=owner_T,
            modality_T=torch.full_like(owner_T, self.modality),
            item_V=item_V[order_V],
            patient_V=patient_V,
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
        """Means (S, Q, d) of the items of each patient, in 32 bits or more."""
        dtype = torch.promote_types(x_Vd.dtype, torch.float32)
        score_VQ = (x_Vd @ self.query_Qd.mT / x_Vd.shape[1] ** 0.5).to(dtype)
        index_VQ = plan.patient_V[:, None].expand_as(score_VQ)
        top_SQ = score_VQ.new_full((len(plan.num_S), score_VQ.shape[1]), -torch.inf)
        top_SQ = top_SQ.scatter_reduce(0, index_VQ, score_VQ.detach(), "amax")
        weight_VQ = (score_VQ - top_SQ.index_select(0, plan.patient_V)).exp()
        total_SQ = torch.zeros_like(top_SQ).index_add(0, plan.patient_V, weight_VQ)
        share_VQ = weight_VQ / total_SQ.index_select(0, plan.patient_V)
        places_V, x_Vd = torch.arange(len(x_Vd), device=x_Vd.device), x_Vd.to(dtype)
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
