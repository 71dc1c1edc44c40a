"""Ensemble fusion: K readouts per patient, each its own view of the observed tokens.

A parameter-efficient ensemble (BatchEnsemble, Wen et al. 2020; TabM, Gorishniy et al. 2025)
carried over from flat tables to sets of tokens: the members share encoders, experts and matrices,
and differ in element-wise factors. Tokens are computed once, whatever K is.

T tokens, D width, B patients, K members, M modalities, C classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.encoders import Tokens
from remind.fusion.config import ModelConfig
from remind.fusion.context import GroupContext
from remind.fusion.mixture import make_mixture
from remind.fusion.moe import Routed
from remind.fusion.moe.code import GroupCode
from remind.fusion.packing import Packing


class MemberLinear(nn.Module):
    """One matrix for all members, between factors of each member's own: ((x r_k) W) s_k + b_k.

    Args:
        width: D, of inputs and outputs.
        members: K.
    """

    def __init__(self, width: int, members: int) -> None:
        super().__init__()
        self.weight_DD = nn.Parameter(torch.empty(width, width).uniform_(-1, 1) / width**0.5)
        self.in_KD = nn.Parameter(torch.ones(members, width))
        self.out_KD = nn.Parameter(torch.ones(members, width))
        self.bias_KD = nn.Parameter(torch.zeros(members, width))

    def forward(self, x_BKD: Tensor) -> Tensor:
        """Map (B, K, D) to (B, K, D)."""
        return ((x_BKD * self.in_KD) @ self.weight_DD) * self.out_KD + self.bias_KD


class Pool(nn.Module):
    """Member readouts of the tokens, and of who is absent.

    h_k = b_k + sum over observed m of a_km * token_m + sum over absent m of a_km * n_m

    a_km starts as one normal number per member and modality, so every member trusts another mix of
    modalities (TabM scales features so); n_m tells it who is absent.

    Args:
        width: D.
        members: K.
        num_modalities: M.
    """

    def __init__(self, width: int, members: int, num_modalities: int) -> None:
        super().__init__()
        factor_MKD = torch.randn(num_modalities, members, 1).expand(-1, -1, width)
        self.factor_MKD = nn.Parameter(factor_MKD.clone())
        self.absent_MD = nn.Parameter(torch.empty(num_modalities, width).uniform_(-0.03, 0.03))
        self.bias_KD = nn.Parameter(torch.zeros(members, width))

    def forward(self, tokens: Tokens, context: GroupContext) -> Tensor:
        """Return the readouts (B, K, D)."""
        num_patients, (num_modalities, _, width) = len(context.combo_B), self.factor_MKD.shape
        place_T = tokens.owner_T * num_modalities + tokens.modality_T
        x_BMD = tokens.x_TD.new_zeros(num_patients * num_modalities, width)
        x_BMD = x_BMD.index_add(0, place_T, tokens.x_TD).view(num_patients, num_modalities, width)
        pooled_BKD = torch.einsum("bmd,mkd->bkd", x_BMD, self.factor_MKD)
        absent_UM = (~context.present_UM).to(x_BMD.dtype)
        absent_MX = (self.absent_MD.unsqueeze(1) * self.factor_MKD).flatten(
            1
        )  # X = K D, one matmul
        absent_UKD = (absent_UM @ absent_MX).unflatten(1, self.bias_KD.shape) + self.bias_KD
        return pooled_BKD + absent_UKD.index_select(0, context.combo_B)


class GroupFactors(nn.Module):
    """Tokens times factors that the patient's combination chooses: its own way to weigh modalities.

    token_m * (1 + c_g . F_m), with the group code c_g of ``GroupCode``. F starts at zero, so all
    combinations start alike; an unseen one has the set part of the code.

    Args:
        config: of the model.
        num_modalities: M.
        counts_G: training patients of every group.
    """

    def __init__(self, config: ModelConfig, *, num_modalities: int, counts_G: Tensor) -> None:
        super().__init__()
        self.shrinkage = config.shrinkage
        self.code = GroupCode(num_modalities, counts_G, config.rank)
        self.factor_MR = nn.Parameter(torch.zeros(num_modalities, config.rank))

    def forward(self, tokens: Tokens, context: GroupContext) -> tuple[Tokens, Tensor]:
        """Return the tokens with their factors, and the penalty."""
        factor_UM = 1 + self.code(context) @ self.factor_MR.T
        factor_T = factor_UM[context.combo_of(tokens.owner_T), tokens.modality_T]
        penalty = self.shrinkage * self.code.shrinkage()
        return tokens._replace(x_TD=tokens.x_TD * factor_T.unsqueeze(1)), penalty


class MemberBlock(nn.Module):
    """h + Mixture(LN h): a member's readout through the experts that its patient's group composes.

    Args:
        config: of the model.
        num_modalities: M.
        counts_G: training patients of every group.
    """

    def __init__(self, config: ModelConfig, *, num_modalities: int, counts_G: Tensor) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.in_KD = nn.Parameter(torch.ones(config.members, config.width))
        self.out_KD = nn.Parameter(torch.ones(config.members, config.width))
        self.mixture = make_mixture(config, num_modalities=num_modalities, counts_G=counts_G)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BKD: Tensor, packing: Packing, context: GroupContext) -> Routed:
        """Transform readouts (B, K, D)."""
        mixed = self.mixture((self.norm(x_BKD) * self.in_KD).flatten(0, 1), packing, context)
        mixed_BKD = mixed.x_TD.view_as(x_BKD) * self.out_KD
        return Routed(x_BKD + self.dropout(mixed_BKD), mixed.penalty)


class EnsembleFusion(nn.Module):
    """Tokens to K representations of a patient, and those to the logits of K members.

    Args:
        config: of the model.
        num_modalities: M.
        num_classes: C.
        counts_G: training patients of every group.
    """

    def __init__(
        self, config: ModelConfig, *, num_modalities: int, num_classes: int, counts_G: Tensor
    ) -> None:
        super().__init__()
        width, members = config.width, config.members
        self.factors = (
            GroupFactors(config, num_modalities=num_modalities, counts_G=counts_G)
            if config.group_pooling
            else None
        )
        self.pool = Pool(width, members, num_modalities)
        self.layers = nn.ModuleList(MemberLinear(width, members) for _ in range(config.layers))
        self.blocks = nn.ModuleList(
            MemberBlock(config, num_modalities=num_modalities, counts_G=counts_G)
            for _ in range(config.blocks)
        )
        self.dropout = nn.Dropout(config.dropout)
        head_KDC = torch.empty(members, width, num_classes).uniform_(-1, 1) / width**0.5
        self.head_KDC = nn.Parameter(head_KDC)
        self.bias_KC = nn.Parameter(torch.zeros(members, num_classes))

    def forward(self, tokens: Tokens, context: GroupContext) -> tuple[Tensor, Tensor]:
        """Return what the members know (B, K, D) and the penalty."""
        penalty = tokens.x_TD.new_zeros(())
        if self.factors is not None:
            tokens, penalty = self.factors(tokens, context)
        x_BKD = self.dropout(F.relu(self.pool(tokens, context)))
        for layer in self.layers:
            x_BKD = self.dropout(F.relu(layer(x_BKD)))
        num_patients, members, _ = x_BKD.shape
        patient_B = torch.arange(num_patients, device=x_BKD.device)
        packing = Packing.of(patient_B.repeat_interleave(members))
        for block in self.blocks:
            x_BKD, more = block(x_BKD, packing, context)
            penalty = penalty + more
        return x_BKD, penalty

    def classify(self, x_BKD: Tensor) -> Tensor:
        """Return the logits (B, K, C), by a head of each member's own."""
        return torch.einsum("bkd,kdc->bkc", x_BKD, self.head_KDC) + self.bias_KC
