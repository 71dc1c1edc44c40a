"""I²MoE: an expert for every way in which modalities interact, and a network that weighs them.

    x_m   = LN of the mean token of m where it is observed, else its learned embedding
    y_e   = MLP_e([x_1, ..., x_M])                    expert e: unique to 1, ..., unique to M,
                                                      synergy, redundancy
    y     = sum over e of softmax(MLP([x_1, ..., x_M]) / t)_e y_e
    view m: y_e^m, the same with noise N(0, 1) for x_m
    penalty = a / (M + 2) * (sum over m of U_m + S + R)                   in training

    U_m = mean over j != m of max(|y_m - y_m^j| - |y_m - y_m^m| + 1, 0)   e: unique to m
    S   = mean over m of cos(y_e, y_e^m)                                  e: synergy
    R   = mean over m of 1 - cos(y_e, y_e^m)                              e: redundancy

An expert unique to m must notice when m is replaced, and not when another one is; synergy is lost
with any modality, redundancy with none. Xin et al. 2025 (ICML), section 3. Left open there and
filled here:

- The fusion network, which theirs takes from elsewhere, is an MLP with weights of each expert's
  own. Its first layer is a sum over modalities, so a view costs one modality of that layer and not
  all, and all views of all experts are one batched product per layer.
- *Cost.* Views of all modalities are (M + 2)(M + 1) passes of a fusion network per step. Above
  `views` = V modalities every step draws V of them: (V + 2)(V + 1) passes, and M - V without views,
  for the other experts. What the step replaces, and whose U it takes, is those V; they stand for
  all. Prediction is M + 2 passes in any case.
- *Missing modalities.* To replace what was not there says nothing: means are over patients observed
  in the modalities concerned, and U is pooled over m, j and patients. Where everything is observed
  this is the source's mean of means.
- Tokens are normalized, so noise is of their size. With one modality U is 0.

B patients, M modalities, D width, E = M + 2 experts, H hidden, C classes; V replaced modalities,
v = 1 + V views with the unreplaced first, e = V + 2 experts that see views.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.baselines.parts import PeerConfig, make_encoder, make_layers
from remind.cohort import Batch, Encoding
from remind.fusion import FusionModel, Output, mean_slots
from remind.objectives.checks import check_number, check_whole
from remind.training import NeuralMethod, TrainConfig
from remind.training.search import NEURAL, Choice, Range

MARGIN = 1.0
TINY = 1e-12  # under the root of a distance, whose gradient is infinite at 0


@dataclass(frozen=True, kw_only=True)
class I2MoEConfig(PeerConfig):
    """Options of I²MoE.

    Attributes:
        hidden: width of the hidden layers of an expert, H.
        layers: hidden layers of an expert.
        weigher: width of the hidden layer of the network that weighs the experts.
        weigher_temperature: of the weights, t.
        interaction: weight of the penalty, a.
        views: most modalities that are replaced in one step, V.
    """

    width: int = 96
    dropout: float = 0.3
    hidden: int = 96
    layers: int = 2
    weigher: int = 128
    weigher_temperature: float = 1.0
    interaction: float = 0.1
    views: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("hidden", "layers", "weigher"):
            check_whole(name, getattr(self, name), at_least=1)
        check_number("weigher_temperature", self.weigher_temperature, above=0)
        check_number("interaction", self.interaction, at_least=0)
        check_whole("views", self.views, at_least=2)


class ExpertLinear(nn.Module):
    """A linear map of each expert's own, some of which may be asked.

    Args:
        num_experts: E.
        inputs, outputs: widths.
    """

    def __init__(self, num_experts: int, inputs: int, outputs: int) -> None:
        super().__init__()
        weight_EHF = torch.empty(num_experts, inputs, outputs).uniform_(-1, 1) / inputs**0.5
        self.weight_EHF = nn.Parameter(weight_EHF)
        self.bias_EF = nn.Parameter(torch.zeros(num_experts, outputs))

    def forward(self, x_NeH: Tensor, expert_e: Tensor | slice) -> Tensor:
        """Map (N, e, H) to (N, e, F), by the experts of these indices."""
        weight_eHF, bias_eF = self.weight_EHF[expert_e], self.bias_EF[expert_e]
        return torch.einsum("neh,ehf->nef", x_NeH, weight_eHF) + bias_eF


class InteractionExperts(nn.Module):
    """MLPs with ReLU on all modalities side by side, one for every interaction.

    Args:
        num_modalities: M.
        num_classes: C.
        config: options.
    """

    def __init__(self, num_modalities: int, num_classes: int, config: I2MoEConfig) -> None:
        super().__init__()
        num_experts, hidden = num_modalities + 2, config.hidden
        sizes = [hidden] * config.layers
        self.first_MDEH = nn.Parameter(
            torch.empty(num_modalities, config.width, num_experts, hidden).uniform_(-1, 1)
            / (num_modalities * config.width) ** 0.5
        )
        self.offset_EH = nn.Parameter(torch.zeros(num_experts, hidden))
        self.rest = nn.ModuleList(
            ExpertLinear(num_experts, hidden, size) for size in [*sizes[1:], num_classes]
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BMD: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits (B, E, C), and what enters the first ReLU (B, E, H)."""
        weight_MDX = self.first_MDEH.flatten(2)
        sum_BX = x_BMD.flatten(1) @ weight_MDX.flatten(0, 1)
        sum_BEH = sum_BX.unflatten(1, self.offset_EH.shape) + self.offset_EH
        return self._after_first(sum_BEH), sum_BEH

    def replaced(
        self, sum_BEH: Tensor, change_BVD: Tensor, replaced_V: Tensor, expert_e: Tensor
    ) -> Tensor:
        """Return the logits (B, V, e, C) of views in which one modality is another.

        Args:
            sum_BEH: what enters the first ReLU where nothing is replaced.
            change_BVD: by how much each replaced modality differs from what it was.
            replaced_V: those modalities, int64.
            expert_e: experts that see the views, int64.
        """
        weight_VDeH = self.first_MDEH[replaced_V][:, :, expert_e]
        change_BVeH = torch.einsum("bvd,vdeh->bveh", change_BVD, weight_VDeH)
        sum_BVeH = sum_BEH[:, expert_e].unsqueeze(1) + change_BVeH
        logits_NeC = self._after_first(sum_BVeH.flatten(0, 1), expert_e)
        return logits_NeC.unflatten(0, change_BVD.shape[:2])

    def _after_first(self, x_NeH: Tensor, expert_e: Tensor | slice = slice(None)) -> Tensor:
        """From what enters the first ReLU of some experts to their logits (N, e, C)."""
        for linear in self.rest:
            x_NeH = linear(self.dropout(x_NeH.relu()), expert_e)
        return x_NeH


class I2MoE(FusionModel):
    """Encoders, the experts, and the network that weighs them.

    Args:
        encoding: of the training rows.
        num_classes: C.
        config: options.
    """

    def __init__(self, encoding: Encoding, num_classes: int, config: I2MoEConfig) -> None:
        super().__init__()
        num_modalities, width = len(encoding.modalities), config.width
        self.config = config
        self.encoder = make_encoder(encoding, config)
        self.norm = nn.LayerNorm(width)
        self.missing_MD = nn.Parameter(0.02 * torch.randn(num_modalities, width))
        self.experts = InteractionExperts(num_modalities, num_classes, config)
        self.weigher = nn.Sequential(
            *make_layers(num_modalities * width, config.weigher, 1, config.dropout),
            nn.Linear(config.weigher, num_modalities + 2),
        )

    def forward(self, batch: Batch) -> Output:
        """Return the weighted logits (B, 1, C), which are all that the experts share."""
        z_BMD = self.norm(mean_slots(self.encoder(batch), batch.present_BM))
        x_BMD = torch.where(batch.present_BM.unsqueeze(2), z_BMD, self.missing_MD)
        logits_BEC, sum_BEH = self.experts(x_BMD)
        weigher_BE = self.weigher(x_BMD.flatten(1)) / self.config.weigher_temperature
        weight_BE = weigher_BE.softmax(1)
        logits_BC = torch.einsum("be,bec->bc", weight_BE, logits_BEC)
        penalty = self._penalty(x_BMD, logits_BEC, sum_BEH, batch.present_BM)
        return Output(logits_BC.unsqueeze(1), penalty)

    def _penalty(
        self, x_BMD: Tensor, logits_BEC: Tensor, sum_BEH: Tensor, present_BM: Tensor
    ) -> Tensor:
        """Weighted losses of the interactions in training; 0 otherwise."""
        if not self.training:
            return x_BMD.new_zeros(())
        num_modalities, device = x_BMD.shape[1], x_BMD.device
        replaced_V = torch.randperm(num_modalities, device=device)[: self.config.views]
        others_2 = torch.arange(num_modalities, num_modalities + 2, device=device)
        expert_e = torch.cat([replaced_V, others_2])
        x_BVD = x_BMD[:, replaced_V]
        change_BVD = torch.randn_like(x_BVD) - x_BVD
        view_BVeC = self.experts.replaced(sum_BEH, change_BVD, replaced_V, expert_e)
        terms = interactions(logits_BEC[:, expert_e], view_BVeC, present_BM[:, replaced_V])
        weight = self.config.interaction / (num_modalities + 2)
        return weight * (num_modalities * terms.unique + terms.synergy + terms.redundancy)


class Interactions(NamedTuple):
    """The losses of the experts.

    Attributes:
        unique: mean of all U_m.
        synergy, redundancy: S and R.
    """

    unique: Tensor
    synergy: Tensor
    redundancy: Tensor


def interactions(logits_BeC: Tensor, view_BVeC: Tensor, present_BV: Tensor) -> Interactions:
    """Return the losses of the experts unique to V modalities, of synergy and of redundancy.

    Args:
        logits_BeC: of those experts, in this order, where nothing is replaced.
        view_BVeC: the same where one of the V modalities is replaced.
        present_BV: whether it was observed.
    """
    num_views = present_BV.shape[1]
    difference_BVVC = logits_BeC[:, None, :num_views] - view_BVeC[:, :, :num_views]
    far_BVV = (difference_BVVC.square().sum(3) + TINY).sqrt()  # [b, replaced, expert unique to]
    own_B1V = far_BVV.diagonal(dim1=1, dim2=2).unsqueeze(1)
    is_other_VV = ~torch.eye(num_views, dtype=torch.bool, device=present_BV.device)
    both_BVV = present_BV.unsqueeze(2) & present_BV.unsqueeze(1) & is_other_VV
    cosine_BV2 = F.cosine_similarity(
        logits_BeC[:, None, num_views:], view_BVeC[:, :, num_views:], dim=3
    )
    synergy_BV, redundancy_BV = cosine_BV2.unbind(2)
    return Interactions(
        mean_where((far_BVV - own_B1V + MARGIN).relu(), both_BVV),
        mean_where(synergy_BV, present_BV),
        mean_where(1 - redundancy_BV, present_BV),
    )


def mean_where(x_X: Tensor, is_there_X: Tensor) -> Tensor:
    """Return the mean of the values that count; 0 if none does."""
    return (x_X * is_there_X).sum() / is_there_X.sum().clamp_min(1)


I2MOE = NeuralMethod(
    name="i2moe",
    build=I2MoE,
    model_config=I2MoEConfig(),
    train_config=TrainConfig(ema=0.99, lr=1e-3, weight_decay=1e-2, selection="mean"),
    space={
        **NEURAL,
        "hidden": Choice((64, 96, 192)),
        "layers": Range(low=1, high=3, whole=True),
        "interaction": Range(low=1e-3, high=1.0, log=True),
    },
)
