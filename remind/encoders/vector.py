"""Vector modalities (precomputed embeddings) to tokens.

T tokens, D width, B patients, M modalities, F values of one vector.
"""

import torch
from torch import Tensor, nn

from remind.cohort import VectorSchema
from remind.encoders.tokens import Tokens, merge


class VectorEncoder(nn.Module):
    """One token per observed vector: a linear map of its standardized values.

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
        self.modality = {item.name: item.index for item in schema.modalities}
        self.maps = nn.ModuleList(nn.Linear(item.dim, width) for item in schema.modalities)

    def forward(self, values: dict[str, Tensor], present_BM: Tensor) -> Tokens:
        """Encode the observed vectors of a batch."""
        parts = []
        for (name, modality), linear in zip(self.modality.items(), self.maps, strict=True):
            owner_T = present_BM[:, modality].nonzero().squeeze(1)
            x_TD = linear(values[name].index_select(0, owner_T))
            parts.append(Tokens(x_TD, owner_T, torch.full_like(owner_T, modality)))
        return merge(parts)
