"""Signals to tokens: a residual network over time, then attention over its places.

T tokens, D width, B patients, M modalities, V signals of a modality in a batch, L leads, S samples.
"""

import torch
from torch import Tensor, nn

from remind.cohort.kinds.files import FileBatch, FileSchema
from remind.cohort.kinds.signal import SignalModality
from remind.encoders.convolution import ResidualNet
from remind.encoders.places import PlacePool
from remind.encoders.tokens import Tokens, merge

WIDTHS = (16, 32, 48, 64, 96)
KERNEL = 7
LARGEST = 20.0  # standard deviations; a lead that came off is no more than that


class SignalEncoder(nn.Module):
    """A few tokens per patient and modality of signals.

    Args:
        schema: of all modalities of the kind.
        width: D.
        num_modalities: M of the cohort.
        rank: unused, for all encoders are built alike.
    """

    def __init__(
        self, schema: FileSchema, *, width: int, num_modalities: int, rank: int = 16
    ) -> None:
        super().__init__()
        self.names = [item.name for item in schema.modalities]
        self.parts = nn.ModuleList(
            SignalModalityEncoder(item, width=width, num_modalities=num_modalities)
            for item in schema.modalities
        )

    def forward(self, values: dict[str, FileBatch], present_BM: Tensor) -> Tokens:
        """Encode the observed signals of a batch."""
        return merge(
            [
                part(values[name], present_BM)
                for name, part in zip(self.names, self.parts, strict=True)
            ]
        )


class SignalModalityEncoder(nn.Module):
    """Tokens of one modality. Every lead is two channels: its samples, and whether they are there.

    Args:
        item: what training found of it.
        width: D.
        num_modalities: M of the cohort.
    """

    def __init__(self, item: SignalModality, *, width: int, num_modalities: int) -> None:
        super().__init__()
        self.index = item.index
        shape = (2 * len(item.leads), item.num_samples)
        self.network = ResidualNet(shape, WIDTHS, KERNEL)
        self.pool = PlacePool(
            item, item_width=WIDTHS[-1], width=width, num_modalities=num_modalities
        )

    def forward(self, values: FileBatch, present_BM: Tensor) -> Tokens:
        """Encode the observed signals of a batch."""
        seen_V = present_BM[values.owner_V, self.index].nonzero().squeeze(1)
        x_VLS, owner_V = values.x_V[seen_V], values.owner_V[seen_V]
        is_there_VLS = ~x_VLS.isnan()
        x_VLS = x_VLS.nan_to_num(0.0).clamp(-LARGEST, LARGEST)
        x_VCS = torch.cat([x_VLS, is_there_VLS.to(x_VLS.dtype)], dim=1)
        return self.pool(self.network(x_VCS), owner_V, present_BM)
