"""ShaSpec: features that modalities share, and features of each modality's own.

    s_m = shared(z_m),   r_m = specific_m(z_m)
    f_m = Linear[s_m; r_m] + s_m   where observed,   else the mean of the observed s
    y = head(MLP([f_1; ...; f_M]))
    penalty = 0.1 * L1 between the shared features of modalities
            + 0.02 * cross-entropy of the modality, classified from r_m

Wang et al. 2023, section 3 and equations 1 to 6. Left open there, or different in tables of many
modalities, and filled here: both networks have one hidden layer; L1 is the mean over all pairs of
modalities observed in the same patient and over features; the modality is classified by one linear
layer; the decoder is a layer with ReLU on the concatenation; a patient observed in nothing has
zeros. As published, training hides observed modalities at random; here a tenth of them
(`modality_dropout`).

B patients, M modalities, D width, C classes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.baselines.parts import ModalityLinear, PeerConfig, make_encoder, make_layers
from remind.cohort import Batch, Encoding
from remind.fusion import FusionModel, Represented, mean_slots
from remind.objectives.checks import check_number, check_whole
from remind.training import NeuralMethod, TrainConfig
from remind.training.search import NEURAL, Choice, Range


@dataclass(frozen=True, kw_only=True)
class ShaSpecConfig(PeerConfig):
    """Options of ShaSpec.

    Attributes:
        hidden: width of the layer before the head.
        alignment: weight of the L1 distance between shared features.
        recognition: weight of the classification of modalities from specific features.
    """

    hidden: int = 256
    alignment: float = 0.1
    recognition: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("hidden", self.hidden, at_least=1)
        check_number("alignment", self.alignment, at_least=0)
        check_number("recognition", self.recognition, at_least=0)


class ShaSpec(FusionModel):
    """Encoders, shared and specific features, and a layer on all modalities side by side.

    Args:
        encoding: of the training rows.
        num_classes: C.
        config: options.
    """

    def __init__(self, encoding: Encoding, num_classes: int, config: ShaSpecConfig) -> None:
        super().__init__()
        num_modalities, width, dropout = len(encoding.modalities), config.width, config.dropout
        self.config = config
        self.encoder = make_encoder(encoding, config)
        self.shared = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width)
        )
        self.specific = nn.Sequential(
            ModalityLinear(num_modalities, width, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            ModalityLinear(num_modalities, width, width),
        )
        self.fuse = nn.Linear(2 * width, width)
        self.recognize = nn.Linear(width, num_modalities)
        self.layers = make_layers(num_modalities * width, config.hidden, 1, dropout)
        self.head = nn.Linear(config.hidden, num_classes)

    def represent(self, batch: Batch) -> Represented:
        """Return the last hidden layer (B, 1, hidden)."""
        present_BM = batch.present_BM
        z_BMD = mean_slots(self.encoder(batch), present_BM)
        shared_BMD, specific_BMD = self.shared(z_BMD), self.specific(z_BMD)
        fused_BMD = self.fuse(torch.cat([shared_BMD, specific_BMD], dim=2)) + shared_BMD
        mean_B1D = observed_mean(shared_BMD, present_BM)
        f_BMD = fused_BMD.where(present_BM.unsqueeze(2), mean_B1D)
        alignment = pairwise_l1(shared_BMD, present_BM)
        recognition = self._recognition(specific_BMD, present_BM)
        penalty = self.config.alignment * alignment + self.config.recognition * recognition
        return Represented(self.layers(f_BMD.flatten(1)).unsqueeze(1), penalty)

    def classify(self, x_BKD: Tensor) -> Tensor:
        """Return the logits (B, 1, C)."""
        return self.head(x_BKD)

    def _recognition(self, specific_BMD: Tensor, present_BM: Tensor) -> Tensor:
        """Mean cross-entropy of the modality over observed pairs of patient and modality."""
        modality_P = present_BM.nonzero()[:, 1]
        logits_PM = self.recognize(specific_BMD[present_BM])
        return F.cross_entropy(logits_PM, modality_P, reduction="sum") / max(len(modality_P), 1)


def observed_mean(x_BMD: Tensor, present_BM: Tensor) -> Tensor:
    """Return the mean of the observed modalities (B, 1, D); zeros where none is."""
    num_B11 = present_BM.sum(1).clamp_min(1)[:, None, None]
    return (x_BMD * present_BM.unsqueeze(2)).sum(1, keepdim=True) / num_B11


def pairwise_l1(x_BMD: Tensor, present_BM: Tensor) -> Tensor:
    """Return the mean over pairs of observed modalities, and over features, of |x_m - x_n|.

    Sorted, the value of rank k of n counts k times as the larger of a pair and n - 1 - k times as
    the smaller: M log M instead of M^2. Without a pair it is 0.
    """
    num_B11 = present_BM.sum(1)[:, None, None]
    sorted_BMD, _ = x_BMD.masked_fill(~present_BM.unsqueeze(2), torch.inf).sort(dim=1)
    rank_M1 = torch.arange(x_BMD.shape[1], device=x_BMD.device).unsqueeze(1)
    is_real_BM1 = rank_M1 < num_B11
    sign_BM1 = (2 * rank_M1 - (num_B11 - 1)).where(is_real_BM1, 0)
    total = (sign_BM1 * sorted_BMD.where(is_real_BM1, 0)).sum()
    num_pairs = (num_B11 * (num_B11 - 1) // 2).sum().clamp_min(1)
    return total / (num_pairs * x_BMD.shape[2])


SHASPEC = NeuralMethod(
    name="shaspec",
    build=ShaSpec,
    model_config=ShaSpecConfig(),
    train_config=TrainConfig(
        lr=1e-3, weight_decay=1e-2, selection="mean", ema=0.99, modality_dropout=0.1
    ),
    space={
        **NEURAL,
        "hidden": Choice((128, 256, 512)),
        "alignment": Range(low=1e-3, high=1.0, log=True),
        "recognition": Range(low=1e-3, high=1.0, log=True),
    },
)
