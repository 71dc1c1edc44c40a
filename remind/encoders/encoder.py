"""TokenEncoder: the encoders of all kinds of a cohort as one.

T tokens, D width, M modalities, B patients of a batch.
"""

from typing import Any

import torch
from torch import nn

from remind.cohort import Batch
from remind.encoders.codes import CodesEncoder
from remind.encoders.image import PixelEncoder
from remind.encoders.series import SeriesEncoder
from remind.encoders.signal import SignalEncoder
from remind.encoders.tabular import TabularEncoder
from remind.encoders.text import TextEncoder
from remind.encoders.tokens import Tokens, merge
from remind.encoders.vector import VectorEncoder

ENCODERS: dict[str, type[nn.Module]] = {
    "tabular": TabularEncoder,
    "vector": VectorEncoder,
    "series": SeriesEncoder,
    "codes": CodesEncoder,
    "text": TextEncoder,
    "image": PixelEncoder,
    "volume": PixelEncoder,
    "signal": SignalEncoder,
}


class TokenEncoder(nn.Module):
    """Tokens of the observed modalities of a batch; an unobserved one costs nothing.

    Every token gets the embedding of its modality.

    Args:
        schemas: kind name -> schema, as in ``Encoding.schemas``.
        width: D.
        num_modalities: M.
        rank: of the embedding of one number.

    Raises:
        KeyError: a kind without an encoder.
    """

    def __init__(
        self, schemas: dict[str, Any], *, width: int, num_modalities: int, rank: int = 16
    ) -> None:
        super().__init__()
        self.kinds = nn.ModuleDict(
            {
                kind: ENCODERS[kind](schema, width=width, num_modalities=num_modalities, rank=rank)
                for kind, schema in schemas.items()
            }
        )
        self.modality_MD = nn.Parameter(torch.zeros(num_modalities, width))

    def forward(self, batch: Batch) -> Tokens:
        """Encode a batch: packed tokens, patient by patient."""
        tokens = merge(
            [kind(batch.values[name], batch.present_BM) for name, kind in self.kinds.items()]
        )
        return tokens._replace(x_TD=tokens.x_TD + self.modality_MD[tokens.modality_T])
