"""Kinds of modality that are files (images, volumes, signals): an encoder for each modality.

D width, B patients, M modalities, V files of a modality in a batch.
"""

from typing import Any, ClassVar

from torch import Tensor, nn

from remind.cohort.kinds.files import FileBatch, FileModality, FileSchema
from remind.encoders.tokens import Tokens, merge


class FileEncoder(nn.Module):
    """A few tokens per patient and modality of a kind.

    Args:
        schema: of all modalities of the kind.
        width: D.
        num_modalities: M of the cohort.
        rank: unused, for all encoders are built alike.

    Attributes:
        make_part: the encoder of one modality, a subclass of ``FileModalityEncoder``.
    """

    make_part: ClassVar[type["FileModalityEncoder"]]

    def __init__(
        self, schema: FileSchema, *, width: int, num_modalities: int, rank: int = 16
    ) -> None:
        super().__init__()
        self.names = [item.name for item in schema.modalities]
        self.parts = nn.ModuleList(
            self.make_part(item, width=width, num_modalities=num_modalities)
            for item in schema.modalities
        )

    def forward(self, values: dict[str, FileBatch], present_BM: Tensor) -> Tokens:
        """Encode the observed files of a batch."""
        return merge(
            [
                part(values[name], present_BM)
                for name, part in zip(self.names, self.parts, strict=True)
            ]
        )


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
