"""Modalities of files (images, volumes, signals): what their encoders share.

D width, B patients, M modalities, V files of a modality in a batch.
"""

from typing import Any

from torch import Tensor, nn

from remind.cohort.kinds.files import FileBatch, FileModality
from remind.encoders.tokens import Tokens


class FileModalityEncoder(nn.Module):
    """Tokens of one modality; only files of patients that are observed in it are looked at.

    Args:
        item: what training found of it.
        width: D.
        num_modalities: M of the cohort.
    """

    def __init__(self, item: Any, *, width: int, num_modalities: int) -> None:
        super().__init__()
        assert isinstance(item, FileModality)
        self.index = item.index

    def forward(self, values: FileBatch, present_BM: Tensor) -> Tokens:
        """Encode the observed files of a batch."""
        seen_V = present_BM[values.owner_V, self.index].nonzero().squeeze(1)
        return self.encode(values.x_V[seen_V], values.owner_V[seen_V], present_BM)

    def encode(self, x_V: Tensor, owner_V: Tensor, present_BM: Tensor) -> Tokens:
        """Encode the files of observed patients; ``owner_V`` says whose each is, int64."""
        raise NotImplementedError
