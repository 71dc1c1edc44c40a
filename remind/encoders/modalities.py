"""Kinds whose modalities have an encoder each.

D width, B patients, M modalities.
"""

from typing import Any

from torch import Tensor, nn

from remind.encoders.tokens import Tokens, merge


class ModalityEncoders(nn.Module):
    """A few tokens per patient and observed modality of a kind.

    Args:
        schema: of all modalities of the kind.
        width: D.
        num_modalities: M of the cohort.
        rank: of the embedding of one number; unused by most, for all encoders are built alike.
    """

    def __init__(self, schema: Any, *, width: int, num_modalities: int, rank: int = 16) -> None:
        super().__init__()
        self.names = [item.name for item in schema.modalities]
        self.parts = nn.ModuleList(
            self.make_part(item, width=width, num_modalities=num_modalities, rank=rank)
            for item in schema.modalities
        )

    def make_part(self, item: Any, *, width: int, num_modalities: int, rank: int) -> nn.Module:
        """Make the encoder of one modality: (its values, present_BM) to tokens."""
        raise NotImplementedError

    def forward(self, values: dict[str, Any], present_BM: Tensor) -> Tokens:
        """Encode the observed modalities of a batch."""
        return merge(
            [
                part(values[name], present_BM)
                for name, part in zip(self.names, self.parts, strict=True)
            ]
        )
