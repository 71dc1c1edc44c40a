"""Mixture: the feed-forward part of a block, in one of its three forms.

T tokens, D width, G training groups, M modalities.
"""

from torch import Tensor, nn

from remind.fusion.config import ModelConfig
from remind.fusion.context import GroupContext
from remind.fusion.moe import GroupMoE, Routed, SoftGroupMoE
from remind.fusion.moe.experts import Experts
from remind.fusion.packing import Packing


class FeedForward(nn.Module):
    """One feed-forward network for all groups, behind the interface of the mixtures.

    Args:
        width: D.
        config: of the model.
    """

    def __init__(self, width: int, config: ModelConfig) -> None:
        super().__init__()
        self.network = Experts(width, config.hidden, 1, config.activation)

    def forward(self, x_TD: Tensor, packing: Packing, context: GroupContext) -> Routed:
        """Transform packed tokens (T, D), each alone."""
        return Routed(self.network.in_turn(x_TD), x_TD.new_zeros(()))


def make_mixture(config: ModelConfig, *, num_modalities: int, counts_G: Tensor) -> nn.Module:
    """Return the mixture that the configuration names: (x_TD, packing, context) to ``Routed``."""
    if config.mixture == "none":
        return FeedForward(config.width, config)
    if config.mixture == "soft":
        return SoftGroupMoE(config.width, config.soft_moe(), num_groups=len(counts_G))
    return GroupMoE(config.width, config.moe(), num_modalities=num_modalities, counts_G=counts_G)
