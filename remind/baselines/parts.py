"""Parts that several neural peers share: common options, the encoders, small networks.

B patients, M modalities, T tokens (t of one modality), D and F widths.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from remind.cohort import Encoding
from remind.encoders import TokenEncoder, trained
from remind.errors import InputError
from remind.fusion import ModelConfig
from remind.fusion.transformer import Block
from remind.objectives.checks import check_whole


@dataclass(frozen=True, kw_only=True)
class PeerConfig:
    """Options of every neural peer.

    Attributes:
        width: of tokens, D.
        embedding_rank: width of the embedding of one number before it enters its token.
        dropout: share of activations dropped in training, in [0, 1).
    """

    width: int = 128
    embedding_rank: int = 16
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_whole("width", self.width, at_least=1)
        check_whole("embedding_rank", self.embedding_rank, at_least=1)
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must be in [0, 1), got {self.dropout}")


def make_encoder(encoding: Encoding, config: PeerConfig) -> TokenEncoder:
    """Return the encoders that our own model has too; none of what training never observed."""
    return TokenEncoder(
        trained(encoding.schemas, np.asarray(encoding.groups.patterns_GM.any(axis=0))),
        width=config.width,
        num_modalities=len(encoding.modalities),
        rank=config.embedding_rank,
    )


def make_layers(num_inputs: int, width: int, num_layers: int, dropout: float) -> nn.Sequential:
    """Return hidden layers: linear, ReLU and dropout, from ``num_inputs`` values to ``width``."""
    widths = [num_inputs] + [width] * num_layers
    layers = [
        part
        for inputs, outputs in pairwise(widths)
        for part in (nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout))
    ]
    return nn.Sequential(*layers)


def check_heads(width: int, heads: int) -> None:
    """Heads of attention, >= 1, share a width evenly, InputError otherwise."""
    check_whole("heads", heads, at_least=1)
    if width % heads:
        raise InputError(f"heads must divide width {width}, got {heads}")


def make_blocks(
    encoding: Encoding, config: PeerConfig, *, heads: int, hidden: int, num: int
) -> nn.ModuleList:
    """Return blocks of the plain transformer that our own model can be, blind to groups."""
    block_config = ModelConfig(
        fusion="transformer",
        mixture="none",
        width=config.width,
        heads=heads,
        hidden=hidden,
        dropout=config.dropout,
        activation="gelu",
    )
    counts_G = torch.from_numpy(encoding.groups.counts_G)
    num_modalities = len(encoding.modalities)
    return nn.ModuleList(
        Block(block_config, num_modalities=num_modalities, counts_G=counts_G) for _ in range(num)
    )


class ModalityLinear(nn.Module):
    """A linear map of each modality's own: out_m = x_m W_m + b_m.

    Args:
        num_modalities: M.
        inputs: D.
        outputs: F.
    """

    def __init__(self, num_modalities: int, inputs: int, outputs: int) -> None:
        super().__init__()
        weight_MDF = torch.empty(num_modalities, inputs, outputs).uniform_(-1, 1) / inputs**0.5
        self.weight_MDF = nn.Parameter(weight_MDF)
        self.bias_MF = nn.Parameter(torch.zeros(num_modalities, outputs))

    def forward(self, x_BMD: Tensor) -> Tensor:
        """Map the slots (B, M, D) to (B, M, F)."""
        return torch.einsum("bmd,mdf->bmf", x_BMD, self.weight_MDF) + self.bias_MF

    def packed(self, x_TD: Tensor, num_M: list[int]) -> Tensor:
        """Map tokens (T, D) that lie modality by modality, ``num_M`` of each, to (T, F)."""
        per_modality = zip(x_TD.split(num_M), self.weight_MDF, self.bias_MF, strict=True)
        return torch.cat([torch.addmm(b_F, x_tD, w_DF) for x_tD, w_DF, b_F in per_modality])
