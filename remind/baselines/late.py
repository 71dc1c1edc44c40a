"""Late fusion: a classifier per modality, and the mean of the logits of the observed ones.

    y = sum_m o_m a_m f_m(z_m) / sum_m o_m a_m     o_m = 1 where modality m is observed, else 0

a_m = 1 is the mean; with learned weights a_m = exp(alpha_m), alpha from 0. Textbook form
(Baltrusaitis et al. 2019, section 7.1). Left open by the equation and filled here: z_m is the mean
of a modality's tokens, f_m has one hidden layer with ReLU, and the classifiers are trained together
through the fused logits, which beats training each alone. A patient observed in nothing has logits
of zero.

B patients, M modalities, D width, H hidden, C classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from remind.baselines.parts import ModalityLinear, PeerConfig, make_encoder
from remind.cohort import Batch, Encoding
from remind.fusion import FusionModel, Output, mean_slots
from remind.objectives.checks import check_choice, check_whole
from remind.training import NeuralMethod, TrainConfig
from remind.training.search import NEURAL, Choice


@dataclass(frozen=True, kw_only=True)
class LateConfig(PeerConfig):
    """Options of late fusion.

    Attributes:
        hidden: width of the hidden layer of every classifier, H.
        weights: of the modalities: "mean" (all alike) or "learned".
    """

    hidden: int = 128
    weights: str = "learned"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("hidden", self.hidden, at_least=1)
        check_choice("weights", self.weights, ("mean", "learned"))


class LateFusion(FusionModel):
    """Encoders, a classifier per modality, and the weighted mean of the logits.

    Args:
        encoding: of the training rows.
        num_classes: C.
        config: options.
    """

    def __init__(self, encoding: Encoding, num_classes: int, config: LateConfig) -> None:
        super().__init__()
        num_modalities = len(encoding.modalities)
        self.encoder = make_encoder(encoding, config)
        self.unimodal = nn.Sequential(
            ModalityLinear(num_modalities, config.width, config.hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            ModalityLinear(num_modalities, config.hidden, num_classes),
        )
        self.log_weight_M = (
            nn.Parameter(torch.zeros(num_modalities)) if config.weights == "learned" else None
        )

    def forward(self, batch: Batch) -> Output:
        """Return the fused logits (B, 1, C), which are all that the modalities share."""
        z_BMD = mean_slots(self.encoder(batch), batch.present_BM)
        share_BM = self._shares(batch.present_BM, z_BMD.dtype)
        logits_BC = torch.einsum("bm,bmc->bc", share_BM, self.unimodal(z_BMD))
        return Output(logits_BC.unsqueeze(1), z_BMD.new_zeros(()))

    def _shares(self, present_BM: Tensor, dtype: torch.dtype) -> Tensor:
        """Weights (B, M) of the modalities: 0 where unobserved; they sum to 1."""
        if self.log_weight_M is None:
            return present_BM.to(dtype) / present_BM.sum(1, keepdim=True).clamp_min(1)
        lowest = torch.finfo(dtype).min
        score_BM = self.log_weight_M.expand(present_BM.shape).masked_fill(~present_BM, lowest)
        return score_BM.softmax(1) * present_BM


LATE = NeuralMethod(
    name="late_fusion",
    build=LateFusion,
    model_config=LateConfig(),
    train_config=TrainConfig(ema=0.99, lr=1e-3, weight_decay=1e-2, selection="mean"),
    space={**NEURAL, "hidden": Choice((64, 128, 256)), "weights": Choice(("mean", "learned"))},
)
