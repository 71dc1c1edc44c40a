"""AdamW as it is trained with: decay on matrices only, learning rates of single parameters."""

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from remind.training.config import TrainConfig
from remind.training.rows import RowAdamW

MARKS = ("lr_scale", "by_rows")
"""Attributes of parameters by which the optimizer treats them: see below, and `rows`."""


def copy_marks(source: nn.Module, target: nn.Module) -> None:
    """Mark the parameters of a module as those of another of the same build: copies have no marks.

    A module may be its own target.
    """
    for ours, theirs in zip(source.parameters(), target.parameters(), strict=True):
        for name in MARKS:
            if hasattr(ours, name):
                setattr(theirs, name, getattr(ours, name))


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW with weight decay on parameters of two axes or more only.

    A parameter may have an attribute `lr_scale`, a factor of its learning rate: weights that were
    trained before have one below 1. Sharded parameters and whole ones are groups apart.
    """
    groups: dict[tuple[float, bool, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            scale, is_sharded = getattr(parameter, "lr_scale", 1.0), isinstance(parameter, DTensor)
            groups.setdefault((scale, parameter.dim() >= 2, is_sharded), []).append(parameter)
    return RowAdamW(
        [
            {
                "params": groups[key],
                "weight_decay": config.weight_decay if key[1] else 0.0,
                "lr_scale": key[0],
            }
            for key in sorted(groups, reverse=True)
        ],
        lr=config.lr,
        fused=True,
    )
