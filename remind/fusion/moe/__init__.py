"""Mixtures of experts specialized to modality combinations, in two forms."""

from remind.fusion.moe.experts import Experts, Modulation
from remind.fusion.moe.group_moe import GroupMoE, MoEConfig, Routed
from remind.fusion.moe.router import Routing
from remind.fusion.moe.soft_moe import SoftGroupMoE, SoftMoEConfig

__all__ = [
    "Experts",
    "GroupMoE",
    "MoEConfig",
    "Modulation",
    "Routed",
    "Routing",
    "SoftGroupMoE",
    "SoftMoEConfig",
]
