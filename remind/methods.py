"""Every method by its name on the command line: ours with its presets, and the peers."""

from dataclasses import replace
from typing import Any

from torch import nn

from remind.baselines import BASELINES
from remind.baselines.teacher import out_of_fold_trees
from remind.cohort import Encoding
from remind.errors import InputError, did_you_mean
from remind.fusion import Model, ModelConfig
from remind.training import Method, NeuralMethod, TrainConfig
from remind.training.search import NEURAL, Choice


def _build(encoding: Encoding, num_classes: int, config: Any) -> nn.Module:
    return Model(encoding, num_classes, config)


DEFAULT = NeuralMethod(
    name="default",
    build=_build,
    teach=out_of_fold_trees,
    model_config=ModelConfig(dropout=0.2),
    train_config=TrainConfig(ema=0.99, modality_dropout=0.1, pretrain=20, teacher=0.5),
    space={
        **NEURAL,
        "width": Choice((128, 256, 384)),
        "layers": Choice((0, 1, 2)),
        "pretrain": Choice((0, 20)),
        "teacher": Choice((0.0, 0.25, 0.5)),
    },
)
"""What was measured to be best (docs/research.md)."""

PAPER = NeuralMethod(
    name="paper",
    build=_build,
    teach=out_of_fold_trees,
    model_config=ModelConfig(
        fusion="transformer",
        mixture="soft",
        group_pooling=False,
        width=64,
        hidden=64,
        experts=128,
        blocks=1,
        gate="shared",
        activation="gelu",
    ),
    train_config=TrainConfig(
        epochs=24,
        lr=1e-3,
        weight_decay=5e-5,
        schedule="step",
        step_epochs=18,
        batch_size=128,
        patience=0,
        selection="mean",
    ),
    objective="paper",
)
"""The paper's parts (method 3.3) at the width of a table; its widths presuppose image encoders."""

TRANSFORMER = NeuralMethod(
    name="transformer",
    build=_build,
    teach=out_of_fold_trees,
    model_config=ModelConfig(
        fusion="transformer",
        mixture="none",
        group_pooling=False,
        width=96,
        hidden=192,
        blocks=2,
        activation="gelu",
    ),
    train_config=TrainConfig(lr=1e-3, weight_decay=1e-2, selection="mean", ema=0.99),
    space={**NEURAL, "blocks": Choice((1, 2, 3))},
)
"""The plain neural baseline: a masked transformer, blind to groups."""

METHODS: dict[str, Method] = {
    **{method.name: method for method in (DEFAULT, PAPER, TRANSFORMER)},
    **{
        name: replace(peer, teach=out_of_fold_trees) if isinstance(peer, NeuralMethod) else peer
        for name, peer in BASELINES.items()
    },
}


def find_method(name: str) -> Method:
    """Return the method of a name.

    Raises:
        InputError: there is none.
    """
    if name not in METHODS:
        hint = did_you_mean(name, METHODS) or f" (there are {', '.join(METHODS)})"
        raise InputError(f'no method "{name}"{hint}')
    return METHODS[name]
