"""Vector modalities (precomputed embeddings) to tokens.

T tokens, D width, B patients, M modalities, F values of one vector, I modalities of one length.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.autocast import operand_dtype
from remind.cohort import VectorSchema
from remind.encoders.plan import PlannedEncoder
from remind.encoders.tokens import Tokens, patient_order

ALIGNED = 8  # rows that a grouped GEMM takes have multiples of 16 bytes, in bfloat16 as well


def can_be_grouped(weight_DF: Tensor, dtype: torch.dtype) -> bool:
    """Tell whether maps with such weights can be one grouped GEMM of a type."""
    if not hasattr(F, "grouped_mm") or any(size % ALIGNED for size in weight_DF.shape):
        return False
    is_eager = weight_DF.device.type == "cpu" and not torch.compiler.is_compiling()
    return dtype == (torch.float32 if is_eager else torch.bfloat16)


class VectorPlan(NamedTuple):
    """Where vector tokens come from.

    Attributes:
        owner_T, modality_T: of each token, int64, in the order of patients and modalities.
        order_T: those tokens among the vectors, which are taken length by length, modality by
            modality.
        rows: patients of the vectors of every modality, in the order of the schema.
        ends: for every length the number of vectors up to and with each modality of it, int32.
    """

    owner_T: Tensor
    modality_T: Tensor
    order_T: Tensor
    rows: tuple[Tensor, ...]
    ends: tuple[Tensor, ...]


class VectorEncoder(PlannedEncoder):
    """One token per observed vector: a linear map of its standardized values.

    The maps of all modalities of one length are one grouped GEMM.

    Args:
        schema: modalities and lengths.
        width: D.
        num_modalities: M of the cohort; unused, for all encoders are built alike.
        rank: unused.
    """

    def __init__(
        self, schema: VectorSchema, *, width: int, num_modalities: int, rank: int = 16
    ) -> None:
        super().__init__()
        self.names = [item.name for item in schema.modalities]
        self.indices = [item.index for item in schema.modalities]
        maps = [nn.Linear(item.dim, width) for item in schema.modalities]
        self.lengths: dict[int, list[int]] = {}
        for i, item in enumerate(schema.modalities):
            self.lengths.setdefault(item.dim, []).append(i)
        # One parameter per length, whatever the number of modalities: maps one below the other, so
        # that their rows can be sharded, and biases of one axis, for they are not decayed.
        groups = [[maps[i] for i in same] for same in self.lengths.values()]
        self.weights = nn.ParameterList(torch.cat([x.weight for x in same]) for same in groups)
        self.biases = nn.ParameterList(torch.cat([x.bias for x in same]) for same in groups)

    def plan(self, values: Any, present_BM: Tensor) -> VectorPlan:
        """Find the observed vectors of a batch, whatever their values are."""
        rows = tuple(present_BM[:, m].nonzero().squeeze(1) for m in self.indices)
        num = torch.tensor([len(row) for row in rows])
        taken = [i for same in self.lengths.values() for i in same]
        owner_T = torch.cat([rows[i] for i in taken])
        modality_T = torch.tensor([self.indices[i] for i in taken]).repeat_interleave(num[taken])
        order_T = patient_order(owner_T, modality_T)
        ends = tuple(num[same].cumsum(0, dtype=torch.int32) for same in self.lengths.values())
        return VectorPlan(owner_T[order_T], modality_T[order_T], order_T, rows, ends)

    def encode(self, values: dict[str, Tensor], plan: VectorPlan) -> Tokens:
        """Encode the observed vectors of a batch."""
        vectors = [
            values[n].index_select(0, row) for n, row in zip(self.names, plan.rows, strict=True)
        ]
        parts = [
            self._map([vectors[i] for i in same], group, plan.ends[group])
            for group, same in enumerate(self.lengths.values())
        ]
        x_TD = torch.cat(parts).index_select(0, plan.order_T)
        return Tokens(x_TD, plan.owner_T, plan.modality_T)

    def _map(self, vectors: Sequence[Tensor], group: int, ends_I: Tensor) -> Tensor:
        """Map the vectors (N, F) of I modalities of one length, each by its own map: (sum N, D)."""
        weight_IDF = self.weights[group].unflatten(0, (len(vectors), -1))
        bias_ID = self.biases[group].unflatten(0, (len(vectors), -1))
        dtype = weight_IDF.dtype
        if weight_IDF.device.type != "cpu":
            dtype = operand_dtype(weight_IDF) or dtype
        if len(weight_IDF) == 1 or not can_be_grouped(weight_IDF[0], dtype):
            maps = zip(vectors, weight_IDF, bias_ID, strict=True)
            return torch.cat([F.linear(x_NF, weight, bias) for x_NF, weight, bias in maps])
        x_VF = torch.cat(list(vectors)).to(dtype)
        place_V = torch.arange(len(x_VF), device=x_VF.device, dtype=torch.int32)
        item_V = torch.searchsorted(ends_I, place_V, right=True)
        y_VD = F.grouped_mm(x_VF, weight_IDF.mT.to(dtype), offs=ends_I)
        return y_VD + bias_ID.to(dtype).index_select(0, item_V)
