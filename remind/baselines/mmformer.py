"""mmFormer: a transformer per modality, then one across modalities.

    h_m = Transformer_m(tokens of m)                 over the modality's own tokens
    x   = [o_m h_m + e_m for all m]                   zeros for a missing modality, e_m its place
    y   = head(mean over m of CrossTransformer(x)_m)
    penalty = a * mean over m of cross-entropy(head_m(mean h_m), label)

Zhang et al. 2022, section 2. Theirs segments images; left open for a prediction per patient and
filled here: a missing modality is one token of zeros; the decoder's convolutions become the mean
over modalities of their mean tokens and a linear head; the auxiliary decoders become a linear head
per modality, whose loss is the mean over modalities of the mean over the patients observed in it,
and which the objective's weights of groups do not touch. Encoders give sets of tokens, whose places
they know already, so there are no positions inside a modality. As published, training hides
observed modalities at random; here a tenth of them (`modality_dropout`).

T observed tokens, P tokens of the cross-modal transformer, D width, H hidden, F outputs, B
patients, M modalities, C classes; b segments or patients of one bucket, n tokens of each, h heads.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.baselines.parts import (
    ModalityLinear,
    PeerConfig,
    check_heads,
    make_blocks,
    make_encoder,
)
from remind.cohort import Batch, Encoding
from remind.encoders import Tokens
from remind.fusion import FusionModel, GroupContext, Packing, Represented, mean_slots
from remind.objectives.checks import check_number, check_whole
from remind.training import NeuralMethod, TrainConfig
from remind.training.search import NEURAL, Choice, Range


@dataclass(frozen=True, kw_only=True)
class MMFormerConfig(PeerConfig):
    """Options of mmFormer.

    Attributes:
        heads: of attention, h.
        hidden: width of the feed-forward networks, H.
        own_blocks: blocks of the transformer of every modality.
        cross_blocks: blocks of the transformer across modalities.
        auxiliary: weight of the loss of the heads per modality; the source has 1.
    """

    width: int = 96
    heads: int = 8
    hidden: int = 192
    own_blocks: int = 1
    cross_blocks: int = 2
    auxiliary: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self.width, self.heads)
        check_whole("hidden", self.hidden, at_least=1)
        check_whole("own_blocks", self.own_blocks, at_least=0)
        check_whole("cross_blocks", self.cross_blocks, at_least=0)
        check_number("auxiliary", self.auxiliary, at_least=0)


class OwnBlock(nn.Module):
    """Pre-norm transformer block with weights of each modality's own, on packed tokens.

    The norms have no weights: the linear map behind each, of the modality's own, has them.

    Args:
        num_modalities: M.
        config: options.
    """

    def __init__(self, num_modalities: int, config: MMFormerConfig) -> None:
        super().__init__()
        width, self.num_heads, self.rate = config.width, config.heads, config.dropout
        self.qkv = ModalityLinear(num_modalities, width, 3 * width)
        self.out = ModalityLinear(num_modalities, width, width)
        self.rise = ModalityLinear(num_modalities, width, config.hidden)
        self.fall = ModalityLinear(num_modalities, config.hidden, width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_TD: Tensor, num_M: list[int], packing: Packing) -> Tensor:
        """Transform tokens (T, D) that lie modality by modality, ``num_M`` of each.

        Args:
            x_TD: the tokens.
            num_M: tokens of every modality.
            packing: whose owners are pairs of modality and patient.
        """
        qkv_TF = self.qkv.packed(self.norm(x_TD), num_M)
        buckets = zip(packing.split(qkv_TF), packing.absent(), strict=True)
        mixed_TD = packing.join([self._attend(qkv, no_bn) for qkv, no_bn in buckets])
        x_TD = x_TD + self.dropout(self.out.packed(mixed_TD, num_M))
        hidden_TH = F.gelu(self.rise.packed(self.norm(x_TD), num_M))
        return x_TD + self.dropout(self.fall.packed(hidden_TH, num_M))

    def _attend(self, qkv_bnF: Tensor, absent_bn: Tensor | None) -> Tensor:
        """Attend inside one bucket: (b, n, 3 D) to (b, n, D)."""
        q_bhnd, k_bhnd, v_bhnd = (
            qkv_bnF.unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        )
        rate = self.rate if self.training else 0.0
        mask = None if absent_bn is None else ~absent_bn[:, None, None, :]
        out_bhnd = F.scaled_dot_product_attention(
            q_bhnd, k_bhnd, v_bhnd, attn_mask=mask, dropout_p=rate
        )
        return out_bhnd.transpose(1, 2).flatten(2)


class MMFormer(FusionModel):
    """Encoders, a transformer per modality, and one across modalities.

    Args:
        encoding: of the training rows.
        num_classes: C.
        config: options.
    """

    def __init__(self, encoding: Encoding, num_classes: int, config: MMFormerConfig) -> None:
        super().__init__()
        num_modalities = len(encoding.modalities)
        self.config = config
        self.encoder = make_encoder(encoding, config)
        self.own = nn.ModuleList(OwnBlock(num_modalities, config) for _ in range(config.own_blocks))
        self.own_norm = nn.LayerNorm(config.width)
        self.place_MD = nn.Parameter(0.02 * torch.randn(num_modalities, config.width))
        self.cross = make_blocks(
            encoding, config, heads=config.heads, hidden=config.hidden, num=config.cross_blocks
        )
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, num_classes)
        self.heads = ModalityLinear(num_modalities, config.width, num_classes)

    def represent(self, batch: Batch) -> Represented:
        """Return the mean over modalities (B, 1, D)."""
        own = self.within(self.encoder(batch), batch.present_BM)
        x_BMD = self.norm(self.across(own, batch))
        return Represented(x_BMD.mean(1, keepdim=True), self._auxiliary(own, batch))

    def classify(self, x_BKD: Tensor) -> Tensor:
        """Return the logits (B, 1, C)."""
        return self.head(x_BKD)

    def within(self, tokens: Tokens, present_BM: Tensor) -> Tokens:
        """Return the tokens after the transformers of their modalities, modality by modality."""
        num_patients, num_modalities = present_BM.shape
        segment_T, order_T = (tokens.modality_T * num_patients + tokens.owner_T).sort(stable=True)
        x_TD, owner_T, modality_T = (values[order_T] for values in tokens)
        num_M = modality_T.bincount(minlength=num_modalities).tolist()
        packing = Packing.of(segment_T)
        for block in self.own:
            x_TD = block(x_TD, num_M, packing)
        return Tokens(self.own_norm(x_TD), owner_T, modality_T)

    def across(self, own: Tokens, batch: Batch) -> Tensor:
        """Return the mean token (B, M, D) of every modality after the cross-modal transformer."""
        missing_owner, missing_modality = (~batch.present_BM).nonzero(as_tuple=True)
        zeros = own.x_TD.new_zeros(len(missing_owner), own.x_TD.shape[1])
        owner_P, order_P = torch.cat([own.owner_T, missing_owner]).sort(stable=True)
        modality_P = torch.cat([own.modality_T, missing_modality])[order_P]
        x_PD = torch.cat([own.x_TD, zeros]).index_select(0, order_P) + self.place_MD[modality_P]
        packing = Packing.of(owner_P)
        context = GroupContext.from_batch(batch.present_BM, batch.group_B)
        for block in self.cross:
            x_PD, _ = block(x_PD, packing, context)
        return mean_slots(Tokens(x_PD, owner_P, modality_P), batch.present_BM)

    def _auxiliary(self, own: Tokens, batch: Batch) -> Tensor:
        """Weighted loss of the heads per modality in training; 0 otherwise."""
        if not self.training:
            return own.x_TD.new_zeros(())
        logits_BMC = self.heads(mean_slots(own, batch.present_BM))
        label_BM = batch.label_B[:, None].expand(batch.present_BM.shape)
        loss_BM = F.cross_entropy(logits_BMC.transpose(1, 2), label_BM, reduction="none")
        num_M = batch.present_BM.sum(0)
        loss_M = (loss_BM * batch.present_BM).sum(0) / num_M.clamp_min(1)
        return self.config.auxiliary * loss_M.sum() / (num_M > 0).sum().clamp_min(1)


MMFORMER = NeuralMethod(
    name="mmformer",
    build=MMFormer,
    model_config=MMFormerConfig(),
    train_config=TrainConfig(
        ema=0.99, lr=1e-3, weight_decay=1e-2, selection="mean", modality_dropout=0.1
    ),
    space={
        **NEURAL,
        "hidden": Choice((96, 192, 384)),
        "cross_blocks": Range(low=1, high=3, whole=True),
        "auxiliary": Range(low=0.01, high=1.0, log=True),
    },
)
