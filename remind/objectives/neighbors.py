"""Which groups are near which: Jaccard similarity of modality combinations."""

# G groups, M modalities, K neighbors, C candidates, R groups of a chunk

from typing import NamedTuple

import torch
from torch import Tensor

_NUM_CANDIDATES = 8192
_CHUNK_CELLS = 1 << 22


class Neighbors(NamedTuple):
    """The K nearest groups of each group, itself excluded; K < `num_neighbors` if groups are few.

    Args:
        index_GK: neighbor, int64.
        kernel_GK: exp(-(1 - Jaccard) / bandwidth), float64.
    """

    index_GK: Tensor
    kernel_GK: Tensor


def nearest_groups(
    patterns_GM: Tensor,
    counts_G: Tensor,
    num_neighbors: int,
    bandwidth: float,
    num_candidates: int = _NUM_CANDIDATES,
) -> Neighbors:
    """Neighbors of every group, in memory proportional to G * K.

    Jaccard: modalities that both groups have over modalities that either has. Neighbors are looked
    for among the `num_candidates` most frequent groups, so that time is not quadratic in G either;
    all groups, if there are no more than that.
    """
    candidate_C = counts_G.argsort(descending=True, stable=True)[:num_candidates]
    bits_GM = patterns_GM.to(torch.float32)
    bits_CM = bits_GM[candidate_C]
    num_neighbors = min(num_neighbors, len(candidate_C) - 1)
    index_GK = torch.empty(len(bits_GM), num_neighbors, dtype=torch.int64)
    kernel_GK = torch.empty(len(bits_GM), num_neighbors, dtype=torch.float64)
    for group_R in torch.arange(len(bits_GM)).split(max(1, _CHUNK_CELLS // len(candidate_C))):
        jaccard_RC = _jaccard(bits_GM[group_R], bits_CM)
        jaccard_RC.masked_fill_(group_R[:, None] == candidate_C, -1.0)
        jaccard_RK, at_RK = jaccard_RC.topk(num_neighbors, dim=1)
        index_GK[group_R] = candidate_C[at_RK]
        kernel_GK[group_R] = ((jaccard_RK.to(torch.float64) - 1) / bandwidth).exp()
    return Neighbors(index_GK, kernel_GK)


def _jaccard(bits_RM: Tensor, bits_CM: Tensor) -> Tensor:
    both_RC = bits_RM @ bits_CM.T
    either_RC = bits_RM.sum(dim=1)[:, None] + bits_CM.sum(dim=1) - both_RC
    return both_RC / either_RC.clamp_min(1.0)
