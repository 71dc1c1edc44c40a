"""Transformer fusion: a readout token attends, together with the patient's observed tokens.

T tokens (P with readouts), D width, B patients, C classes.
"""

import torch
from torch import Tensor, nn

from remind.encoders import Tokens
from remind.fusion.attention import Attention
from remind.fusion.config import ModelConfig
from remind.fusion.context import GroupContext
from remind.fusion.dropout import Dropout
from remind.fusion.layout import Readouts
from remind.fusion.mixture import make_mixture
from remind.fusion.moe import Routed
from remind.fusion.packing import Packing


class Block(nn.Module):
    """Pre-norm block (method 3.2): x + Attention(LN x), then x + Mixture(LN x).

    Args:
        config: of the model.
        num_modalities: M.
        counts_G: training patients of every group.
    """

    def __init__(self, config: ModelConfig, *, num_modalities: int, counts_G: Tensor) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = Attention(config.width, config.heads, dropout=config.dropout)
        self.mixture_norm = nn.LayerNorm(config.width)
        self.mixture = make_mixture(config, num_modalities=num_modalities, counts_G=counts_G)
        self.dropout = Dropout(config.dropout)

    def forward(self, x_PD: Tensor, packing: Packing, context: GroupContext) -> Routed:
        """Transform packed tokens (P, D)."""
        x_PD = x_PD + self.dropout(self.attention(self.attention_norm(x_PD), packing))
        mixed = self.mixture(self.mixture_norm(x_PD), packing, context)
        return Routed(x_PD + self.dropout(mixed.x_TD), mixed.penalty)


class TransformerFusion(nn.Module):
    """Tokens to a readout, and that to logits: blocks of attention and a mixture of experts.

    Args:
        config: of the model.
        num_modalities: M.
        num_classes: C.
        counts_G: training patients of every group.
    """

    def __init__(
        self, config: ModelConfig, *, num_modalities: int, num_classes: int, counts_G: Tensor
    ) -> None:
        super().__init__()
        self.token_norm = nn.LayerNorm(config.width)
        self.readout_D = nn.Parameter(torch.randn(config.width))
        self.blocks = nn.ModuleList(
            Block(config, num_modalities=num_modalities, counts_G=counts_G)
            for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, num_classes)

    def layout(self, owner_T: Tensor, modality_T: Tensor, num_patients: int) -> Readouts:
        """Find on the host what ``forward`` needs to know of the tokens of some patients."""
        return Readouts.of(owner_T, num_patients)

    def forward(
        self, tokens: Tokens, context: GroupContext, readouts: Readouts
    ) -> tuple[Tensor, Tensor]:
        """Return the readouts (B, 1, D) and the penalty; ``readouts`` is of ``layout``."""
        num_patients = len(context.combo_B)
        packing, order_P, last_B = readouts
        readout_BD = self.readout_D.expand(num_patients, -1)
        x_PD = torch.cat([self.token_norm(tokens.x_TD), readout_BD]).index_select(0, order_P)
        penalty = tokens.x_TD.new_zeros(())
        for block in self.blocks:
            x_PD, more = block(x_PD, packing, context)
            penalty = penalty + more
        return self.norm(x_PD.index_select(0, last_B)).unsqueeze(1), penalty

    def classify(self, x_BKD: Tensor) -> Tensor:
        """Return the logits (B, 1, C)."""
        return self.head(x_BKD)
