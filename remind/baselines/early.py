"""Early fusion: one network on all modalities side by side, zeros where one is missing.

    y = MLP([o * z, o])     z_m the token of modality m, o_m = 1 where it is observed, else 0

The oldest way to fuse (Baltrusaitis et al. 2019, section 7.1). Left open by the equation and filled
here: z_m is the mean of a modality's tokens; the MLP has ReLU and dropout.

B patients, M modalities, D width, C classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from remind.baselines.parts import PeerConfig, make_encoder, make_layers
from remind.cohort import Batch, Encoding
from remind.fusion import FusionModel, Represented, mean_slots
from remind.objectives.checks import check_whole
from remind.training import NeuralMethod, TrainConfig
from remind.training.search import NEURAL, Choice, Range


@dataclass(frozen=True, kw_only=True)
class EarlyConfig(PeerConfig):
    """Options of early fusion.

    Attributes:
        hidden: width of the hidden layers.
        layers: number of hidden layers, >= 1.
    """

    hidden: int = 256
    layers: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("hidden", self.hidden, at_least=1)
        check_whole("layers", self.layers, at_least=1)


class EarlyFusion(FusionModel):
    """Encoders, then one network on [o * z, o].

    Args:
        encoding: of the training rows.
        num_classes: C.
        config: options.
    """

    def __init__(self, encoding: Encoding, num_classes: int, config: EarlyConfig) -> None:
        super().__init__()
        self.encoder = make_encoder(encoding, config)
        num_inputs = len(encoding.modalities) * (config.width + 1)
        self.layers = make_layers(num_inputs, config.hidden, config.layers, config.dropout)
        self.head = nn.Linear(config.hidden, num_classes)

    def represent(self, batch: Batch) -> Represented:
        """Return the last hidden layer (B, 1, hidden)."""
        z_BMD = mean_slots(self.encoder(batch), batch.present_BM)
        input_BX = torch.cat([z_BMD.flatten(1), batch.present_BM.to(z_BMD.dtype)], dim=1)
        return Represented(self.layers(input_BX).unsqueeze(1), z_BMD.new_zeros(()))

    def classify(self, x_BKD: Tensor) -> Tensor:
        """Return the logits (B, 1, C)."""
        return self.head(x_BKD)


EARLY = NeuralMethod(
    name="early_fusion",
    build=EarlyFusion,
    model_config=EarlyConfig(),
    train_config=TrainConfig(ema=0.99, lr=1e-3, weight_decay=1e-2, selection="mean"),
    space={
        **NEURAL,
        "hidden": Choice((128, 256, 512)),
        "layers": Range(low=1, high=3, whole=True),
    },
)
