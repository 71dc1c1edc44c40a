"""A toy model and a toy method: small, but with dropout, so that random state matters."""

# B patients, M modalities, C classes, K members

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from remind.cohort import Batch, Cohort, Encoding
from remind.sources import load_source
from remind.training import NeuralMethod, TrainConfig


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """Options of the toy."""

    width: int = 8
    dropout: float = 0.2
    members: int = 2
    deep: bool = False
    flavor: str = "plain"


class ToyOutput(NamedTuple):
    """The seam."""

    logits_BKC: Tensor
    penalty: Tensor


class Toy(nn.Module):
    """Logits from which modalities are present and from the numbers in them."""

    def __init__(self, encoding: Encoding, num_classes: int, config: ToyConfig) -> None:
        super().__init__()
        num_columns = len(encoding.schemas["tabular"].columns)
        self.presence = nn.Embedding(len(encoding.modalities), config.width)
        self.values = nn.Linear(num_columns, config.width)
        self.norm = nn.BatchNorm1d(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.width, config.members * num_classes)
        self.shape = (config.members, num_classes)
        self.epochs: list[int] = []

    def forward(self, batch: Batch) -> ToyOutput:
        tabular = batch.values["tabular"]
        position_BC = tabular.row_BC.float() / 50 + tabular.frac_BC
        x_BD = batch.present_BM.float() @ self.presence.weight + self.values(position_BC)
        x_BD = self.dropout(
            torch.relu(x_BD if self.training and len(batch) == 1 else self.norm(x_BD))
        )
        penalty = 1e-3 * self.head.weight.square().sum()
        return ToyOutput(self.head(x_BD).view(len(batch), *self.shape), penalty)

    def on_epoch(self, epoch: int, num_epochs: int) -> None:
        self.epochs.append(epoch)


def small_config(**changes: object) -> TrainConfig:
    """Few epochs, with everything that has state switched on."""
    base = TrainConfig(
        epochs=5, batch_size=64, ema=0.9, modality_dropout=0.2, schedule="cosine", warmup_steps=3
    )
    return replace(base, device="cpu", **changes)


def toy_method(config: TrainConfig | None = None, objective: str = "group_dro") -> NeuralMethod:
    """The toy behind the interface of methods."""
    return NeuralMethod("toy", Toy, ToyConfig(), config or small_config(), objective)


def toy_cohort() -> Cohort:
    """400 patients, four modalities."""
    return load_source("synthetic", num_patients=400, num_modalities=4, seed=1)


def same_bytes(file: Path, other: Path) -> bool:
    """Whether two files hold the same bytes."""
    return file.read_bytes() == other.read_bytes()
