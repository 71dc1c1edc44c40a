"""Ensemble fusion: K readouts per patient, each its own view of the observed tokens.

A parameter-efficient ensemble (BatchEnsemble, Wen et al. 2020; TabM, Gorishniy et al. 2025)
carried over from flat tables to sets of tokens: the members share encoders, experts and matrices,
and differ in element-wise factors. Tokens are computed once, whatever K is.

T tokens (R of rare modalities), D width, B patients, K members, M modalities (m that training saw),
C classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.encoders import Tokens
from remind.fusion.config import ModelConfig
from remind.fusion.context import GroupContext
from remind.fusion.dropout import Dropout
from remind.fusion.heads import classify
from remind.fusion.mixture import make_mixture
from remind.fusion.moe import Routed
from remind.fusion.moe.code import GroupCode
from remind.fusion.packing import Packing
from remind.fusion.weigh import members_first, weigh

RARE = 0.05
"""Of the training patients: below that share a token costs less where it is added by itself."""


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

    def forward(self, x_KBD: Tensor) -> Tensor:
        """Map (K, B, D) to (K, B, D)."""
        bias_K1D = self.bias_KD.unsqueeze(1)
        _, num_patients, width = x_KBD.shape
        if torch.compiler.is_compiling() or num_patients < width:
            in_K1D, out_K1D = self.in_KD.unsqueeze(1), self.out_KD.unsqueeze(1)
            return torch.addcmul(bias_K1D, (x_KBD * in_K1D) @ self.weight_DD, out_K1D)
        # A matrix of each member's own is fewer numbers than the patients are.
        weight_KDD = self.in_KD.unsqueeze(2) * self.weight_DD * self.out_KD.unsqueeze(1)
        return torch.baddbmm(bias_K1D, x_KBD, weight_KDD)


class Pool(nn.Module):
    """Member readouts of the tokens, and of who is absent.

    h_k = b_k + sum over observed m of a_km * token_m + sum over absent m of a_km * n_m

    a_km starts as one normal number per member and modality, so every member trusts another mix of
    modalities (TabM scales features so); n_m tells it who is absent. A modality that no training
    patient was observed in has neither, costs nothing, and its tokens are left out.

    The first sum is one matmul per element of the width over a dense array of patients and
    modalities. Modalities that few are observed in have no part in that array: their tokens are
    added one by one. (The second sum is one small matmul over all modalities.)

    Args:
        width: D.
        members: K.
        share_M: of the training patients that were observed in each modality.
    """

    seen_m: Tensor
    dense_m: Tensor
    place_M: Tensor
    factor_of_M: Tensor

    def __init__(self, width: int, members: int, share_M: Tensor) -> None:
        super().__init__()
        seen_M = share_M > 0
        dense_M = seen_M & (share_M >= RARE)
        self.num_dense, num_seen = int(dense_M.sum()), int(seen_M.sum())
        self.is_complete, self.is_dense = bool(seen_M.all()), bool(dense_M[seen_M].all())
        self._host_is_rare_M = seen_M & ~dense_M  # stays on the host
        of_M = torch.where(seen_M, seen_M.cumsum(0) - 1, 0)
        buffers = {
            "seen_m": seen_M.nonzero().squeeze(1),
            "dense_m": of_M[dense_M],  # factors of what is in the array
            "place_M": torch.where(dense_M, dense_M.cumsum(0) - 1, self.num_dense),
            "factor_of_M": of_M,
        }
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor, persistent=False)
        factor_MKD = torch.randn(num_seen, members, 1).expand(-1, -1, width)
        self.factor_MKD = nn.Parameter(factor_MKD.clone())
        absent_MD = torch.empty(num_seen, width).uniform_(-0.03, 0.03)
        self.absent_MD = nn.Parameter(absent_MD)
        self.bias_KD = nn.Parameter(torch.zeros(members, width))

    def rare(self, modality_T: Tensor) -> Tensor | None:
        """Find the tokens of rare modalities on the host (int64); None if no modality is rare."""
        return None if self.is_dense else self._host_is_rare_M[modality_T].nonzero().squeeze(1)

    def forward(self, tokens: Tokens, context: GroupContext, rare_R: Tensor | None) -> Tensor:
        """Return the readouts (K, B, D); on CPU they may lie in memory as ``weigh`` has it."""
        num_patients = len(context.combo_B)
        place_T, present_UM, num_places = tokens.modality_T, context.present_UM, self.num_dense
        if not (self.is_complete and self.is_dense):  # one place more, for tokens that are not here
            place_T, num_places = self.place_M.index_select(0, place_T), num_places + 1
        if not self.is_complete:
            present_UM = present_UM.index_select(1, self.seen_m)
        x_XD = tokens.x_TD.new_zeros(num_places * num_patients, tokens.x_TD.shape[1])
        x_XD = x_XD.index_add_(0, place_T * num_patients + tokens.owner_T, tokens.x_TD)
        factor_MKD = self.factor_MKD
        x_KBD = weigh(
            x_XD[: self.num_dense * num_patients].unflatten(0, (self.num_dense, num_patients)),
            ~present_UM.index_select(0, context.combo_B).T,
            factor_MKD if self.is_dense else factor_MKD.index_select(0, self.dense_m),
            factor_MKD * self.absent_MD.unsqueeze(1),
            self.bias_KD,
        )
        return x_KBD if rare_R is None else self._add(members_first(x_KBD), tokens, rare_R)

    def _add(self, x_KBD: Tensor, tokens: Tokens, rare_R: Tensor) -> Tensor:
        """Add rare tokens, each times the factors of its modality."""
        owner_R, modality_R = (
            column.index_select(0, rare_R) for column in (tokens.owner_T, tokens.modality_T)
        )
        factor_RKD = self.factor_MKD.index_select(0, self.factor_of_M.index_select(0, modality_R))
        token_RKD = tokens.x_TD.index_select(0, rare_R).unsqueeze(1) * factor_RKD
        members, num_patients, _ = x_KBD.shape
        member_K1 = torch.arange(members, device=owner_R.device).unsqueeze(1)
        place_KR = member_K1 * num_patients + owner_R
        more_XD = token_RKD.transpose(0, 1).flatten(0, 1).to(x_KBD.dtype)
        return x_KBD.flatten(0, 1).index_add(0, place_KR.flatten(), more_XD).view_as(x_KBD)


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
        """Return the tokens with their factors, and the penalty: 0 where no gradient follows."""
        coded = self.code(context)
        factor_UM = 1 + coded.code_UR @ self.factor_MR.T
        place_T = context.combo_of(tokens.owner_T) * factor_UM.shape[1] + tokens.modality_T
        factor_T = factor_UM.flatten().index_select(0, place_T)
        penalty = factor_T.new_zeros(())
        if torch.is_grad_enabled():
            penalty = self.shrinkage * self.code.shrinkage(coded, context)
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
        self.dropout = Dropout(config.dropout)

    def forward(self, x_KBD: Tensor, packing: Packing, context: GroupContext) -> Routed:
        """Transform readouts (K, B, D)."""
        in_K1D, out_K1D = self.in_KD.unsqueeze(1), self.out_KD.unsqueeze(1)
        mixed = self.mixture((self.norm(x_KBD) * in_K1D).flatten(0, 1), packing, context)
        mixed_KBD = mixed.x_TD.view_as(x_KBD) * out_K1D
        return Routed(x_KBD + self.dropout(mixed_KBD), mixed.penalty)


class EnsembleFusion(nn.Module):
    """Tokens to K representations of a patient, and those to the logits of K members.

    Args:
        config: of the model.
        num_modalities: M.
        num_classes: C.
        counts_G: training patients of every group.
        share_M: of the training patients that were observed in each modality.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        num_modalities: int,
        num_classes: int,
        counts_G: Tensor,
        share_M: Tensor,
    ) -> None:
        super().__init__()
        width, members = config.width, config.members
        self.factors = (
            GroupFactors(config, num_modalities=num_modalities, counts_G=counts_G)
            if config.group_pooling
            else None
        )
        self.pool = Pool(width, members, share_M)
        self.layers = nn.ModuleList(MemberLinear(width, members) for _ in range(config.layers))
        self.blocks = nn.ModuleList(
            MemberBlock(config, num_modalities=num_modalities, counts_G=counts_G)
            for _ in range(config.blocks)
        )
        self.dropout = Dropout(config.dropout)
        head_KDC = torch.empty(members, width, num_classes).uniform_(-1, 1) / width**0.5
        self.head_KDC = nn.Parameter(head_KDC)
        self.bias_KC = nn.Parameter(torch.zeros(members, num_classes))

    def layout(self, owner_T: Tensor, modality_T: Tensor, num_patients: int) -> Tensor | None:
        """Find on the host what ``forward`` needs to know of the tokens of some patients."""
        return self.pool.rare(modality_T)

    def forward(
        self, tokens: Tokens, context: GroupContext, rare_R: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return what the members know (B, K, D) and the penalty; ``rare_R`` is of ``layout``."""
        penalty = tokens.x_TD.new_zeros(())
        if self.factors is not None:
            tokens, penalty = self.factors(tokens, context)
        x_KBD = self.pool(tokens, context, rare_R)
        x_KBD = self.dropout(members_first(F.relu(x_KBD)))
        for layer in self.layers:
            x_KBD = self.dropout(layer(x_KBD).relu_())
        members, num_patients, _ = x_KBD.shape
        packing = Packing.in_layers(num_patients, members, x_KBD.device)
        for block in self.blocks:
            x_KBD, more = block(x_KBD, packing, context)
            penalty = penalty + more
        return x_KBD.transpose(0, 1), penalty

    def classify(self, x_BKD: Tensor) -> Tensor:
        """Return the logits (B, K, C), by a head of each member's own."""
        return classify(x_BKD, self.head_KDC, self.bias_KC)
