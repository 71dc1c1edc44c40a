"""Signals to tokens: a residual network over time, then attention over its places.

T tokens, D width, B patients, M modalities, V signals of a modality in a batch, L leads, S samples.
"""

import torch
from torch import Tensor

from remind.cohort.kinds.signal import SignalModality
from remind.encoders.convolution import ResidualNet
from remind.encoders.files import FileModalityEncoder
from remind.encoders.modalities import ModalityEncoders

WIDTHS = (16, 32, 48, 64, 96)
KERNEL = 7
LARGEST = 20.0  # standard deviations; a lead that came off is no more than that


class SignalModalityEncoder(FileModalityEncoder):
    """Tokens of one modality. Every lead is two channels: its samples, and whether they are there.

    Args:
        item: what training found of it.
        width: D.
    """

    def __init__(self, item: SignalModality, *, width: int) -> None:
        network = ResidualNet((2 * len(item.leads), item.num_samples), WIDTHS, KERNEL)
        super().__init__(item, network, item_width=WIDTHS[-1], width=width)

    def look(self, x_V: Tensor) -> Tensor:
        """What is at the places (V, P, d) of signals (V, L, S); NaN where no sample is."""
        is_there_VLS = ~x_V.isnan()
        x_VLS = x_V.nan_to_num(0.0).clamp(-LARGEST, LARGEST)
        x_VCS = torch.cat([x_VLS, is_there_VLS.to(x_VLS.dtype)], dim=1)
        return self.network(x_VCS)


class SignalEncoder(ModalityEncoders):
    """Encoders of the modalities of signals."""

    def make_part(
        self, item: SignalModality, *, width: int, num_modalities: int, rank: int
    ) -> SignalModalityEncoder:
        """Make the encoder of one modality."""
        return SignalModalityEncoder(item, width=width)
