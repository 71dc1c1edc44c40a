"""Tokens to predictions: attention inside a patient, experts composed by the patient's group."""

from remind.fusion.attention import Attention
from remind.fusion.config import ModelConfig
from remind.fusion.context import GroupContext
from remind.fusion.model import FusionModel, Model, Output, Represented
from remind.fusion.moe import GroupMoE, MoEConfig, Routed, Routing, SoftGroupMoE, SoftMoEConfig
from remind.fusion.packing import Packing
from remind.fusion.slots import mean_slots, sum_slots

__all__ = [
    "Attention",
    "FusionModel",
    "GroupContext",
    "GroupMoE",
    "MoEConfig",
    "Model",
    "ModelConfig",
    "Output",
    "Packing",
    "Represented",
    "Routed",
    "Routing",
    "SoftGroupMoE",
    "SoftMoEConfig",
    "mean_slots",
    "sum_slots",
]
