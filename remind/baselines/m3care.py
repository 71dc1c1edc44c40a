"""M3Care: similar patients lend what is missing, and a transformer reads it all.

    k_m(i, j) = ((1 - d_m) G(f_m(z_im), f_m(z_jm)) + d_m) G(z_im, z_jm)
    s_ij  = mean of k_m(i, j) over the modalities that i and j are both observed in, else 0
    a_ij  = ReLU(s_ij - l)
    g_im  = ReLU(W_m mean of z_jm)      weights a_ij, over the j that are observed in m
    h_im  = ReLU(V_m mean of g_jm)      weights a_ij, over all j
    x_im  = (p z_im + q h_im) / (p + q) where observed, else h_im
    y     = head(ReLU(Linear([t_1, ..., t_M])))     t = Transformer([x_i1 + e_1, ..., x_iM + e_M])
    penalty = b * mean of | |f_m(z_im)| - |z_im| | over what is observed    lengths per feature

z_im is the mean token of modality m of patient i, G a Gaussian kernel; d_m and l are learned in
(0, 1), p = sigmoid(linear of z_im), q = sigmoid(linear of h_im). Zhang et al. 2022 (KDD), section
4. Left open there and filled here:

- *One patient at a time.* The source looks for similar patients in the batch, so a prediction
  depends on the company. Ours does so in training only, where nobody is similar to himself, and
  keeps z and g of the last `bank` training patients; prediction looks there.
- G(x, y) = exp(-|x - y|^2 / (2 D r_m^2)) of normalized x and y, so |x - y|^2 / (2 D) = 1 - cos and
  no bandwidth needs to be found from a batch; the width r_m is learned.
- The threshold l is subtracted, so that it has a gradient; in a mere filter it has none.
- Sums over j are means, so that their size does not depend on how many are alike, and those who
  lack m have no z to lend. Without anyone alike the mean is 0.
- A modality may have several tokens; they are averaged. f_m has one hidden layer.

B patients, R patients that are looked at (all of the batch or of the bank), M modalities, D width,
H hidden, C classes, X = M D.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.baselines.parts import (
    ModalityLinear,
    PeerConfig,
    check_heads,
    make_blocks,
    make_encoder,
    make_layers,
)
from remind.cohort import Batch, Encoding
from remind.fusion import FusionModel, GroupContext, Packing, Represented, mean_slots
from remind.objectives.checks import check_number, check_whole
from remind.training import NeuralMethod, TrainConfig
from remind.training.search import NEURAL, Choice, Range


@dataclass(frozen=True, kw_only=True)
class M3CareConfig(PeerConfig):
    """Options of M3Care.

    Attributes:
        heads: of attention.
        hidden: width of the feed-forward networks and of the layer before the head, H.
        blocks: of the transformer.
        stability: weight of the penalty, b.
        bank: training patients that prediction looks at.
    """

    width: int = 96
    dropout: float = 0.2
    heads: int = 8
    hidden: int = 192
    blocks: int = 2
    stability: float = 0.1
    bank: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self.width, self.heads)
        for name in ("hidden", "blocks", "bank"):
            check_whole(name, getattr(self, name), at_least=1)
        check_number("stability", self.stability, at_least=0)


class Known(NamedTuple):
    """What is known of patients before any of them lends something.

    Attributes:
        z_RMD: mean tokens; zeros where unobserved.
        present_RM: whether each modality is observed, bool.
    """

    z_RMD: Tensor
    present_RM: Tensor


class Similarity(nn.Module):
    """How strongly each patient may borrow from each other one, a_ij.

    Args:
        num_modalities: M.
        width: D.
    """

    def __init__(self, num_modalities: int, width: int) -> None:
        super().__init__()
        self.deep = nn.Sequential(
            ModalityLinear(num_modalities, width, width),
            nn.ReLU(),
            ModalityLinear(num_modalities, width, width),
        )
        self.share_M = nn.Parameter(torch.zeros(num_modalities))
        self.log_radius_M = nn.Parameter(torch.zeros(num_modalities))
        self.deep_log_radius_M = nn.Parameter(torch.zeros(num_modalities))
        self.threshold = nn.Parameter(torch.tensor(-2.0))

    def forward(self, ours: Known, theirs: Known) -> Tensor:
        """Return a (B, R). Modality by modality: only their sum is kept, not (M, B, R)."""
        our_1, their_1 = (directions(known.z_RMD) for known in (ours, theirs))
        our_2, their_2 = (directions(self.deep(known.z_RMD)) for known in (ours, theirs))
        share_M = self.share_M.sigmoid()
        sum_BR = our_1.new_zeros(our_1.shape[1], their_1.shape[1])
        num_BR = torch.zeros_like(sum_BR)
        for m, d in enumerate(share_M):
            both_BR = ours.present_RM[:, m, None] & theirs.present_RM[:, m]
            plain_BR = gaussian(our_1[m], their_1[m], self.log_radius_M[m])
            deep_BR = gaussian(our_2[m], their_2[m], self.deep_log_radius_M[m])
            sum_BR = sum_BR + ((1 - d) * deep_BR + d) * plain_BR * both_BR
            num_BR = num_BR + both_BR
        return (sum_BR / num_BR.clamp_min(1) - self.threshold.sigmoid()).relu()

    def instability(self, known: Known) -> Tensor:
        """Mean difference of lengths, per feature, of what is observed before and after f."""
        before_RM, after_RM = (
            torch.linalg.vector_norm(x_RMD, dim=2)
            for x_RMD in (known.z_RMD, self.deep(known.z_RMD))
        )
        off_RM = (after_RM - before_RM).abs() / known.z_RMD.shape[2] ** 0.5
        return (off_RM * known.present_RM).sum() / known.present_RM.sum().clamp_min(1)


class M3Care(FusionModel):
    """Encoders, what similar patients lend, and a transformer over all modalities.

    Args:
        encoding: of the training rows.
        num_classes: C.
        config: options.
    """

    bank_z_RMD: Tensor
    bank_g_RMD: Tensor
    bank_present_RM: Tensor
    bank_end: Tensor

    def __init__(self, encoding: Encoding, num_classes: int, config: M3CareConfig) -> None:
        super().__init__()
        num_modalities, width = len(encoding.modalities), config.width
        self.config = config
        self.encoder = make_encoder(encoding, config)
        self.similarity = Similarity(num_modalities, width)
        self.first = ModalityLinear(num_modalities, width, width)
        self.second = ModalityLinear(num_modalities, width, width)
        self.own_weight = ModalityLinear(num_modalities, width, 1)
        self.lent_weight = ModalityLinear(num_modalities, width, 1)
        self.place_MD = nn.Parameter(0.02 * torch.randn(num_modalities, width))
        self.blocks = make_blocks(
            encoding, config, heads=config.heads, hidden=config.hidden, num=config.blocks
        )
        self.norm = nn.LayerNorm(width)
        self.layers = make_layers(num_modalities * width, config.hidden, 1, config.dropout)
        self.head = nn.Linear(config.hidden, num_classes)
        size = (config.bank, num_modalities)
        self.register_buffer("bank_z_RMD", torch.zeros(*size, width))
        self.register_buffer("bank_g_RMD", torch.zeros(*size, width))
        self.register_buffer("bank_present_RM", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("bank_end", torch.zeros((), dtype=torch.int64))

    def represent(self, batch: Batch) -> Represented:
        """Return the layer before the head (B, 1, H)."""
        ours = Known(mean_slots(self.encoder(batch), batch.present_BM), batch.present_BM)
        penalty = ours.z_RMD.new_zeros(())
        if self.training:
            penalty = self.config.stability * self.similarity.instability(ours)
        x_BMD = self.completed(ours, self.lent(ours))
        return Represented(self.layers(self.read(x_BMD, batch)).unsqueeze(1), penalty)

    def classify(self, x_BKD: Tensor) -> Tensor:
        """Return the logits (B, 1, C)."""
        return self.head(x_BKD)

    def lent(self, ours: Known) -> Tensor:
        """Return h (B, M, D), lent by the batch in training, which the bank keeps, else by that."""
        if not self.training:
            bank = Known(self.bank_z_RMD, self.bank_present_RM)
            a_BR = self.similarity(ours, bank)
            return self.second(weighted_mean(a_BR, self.bank_g_RMD)).relu()
        a_BB = self.similarity(ours, ours)
        a_BB = a_BB.masked_fill(torch.eye(len(a_BB), dtype=torch.bool, device=a_BB.device), 0)
        g_BMD = self.first(weighted_mean(a_BB, *ours)).relu()
        self._keep(ours, g_BMD)
        return self.second(weighted_mean(a_BB, g_BMD)).relu()

    def completed(self, ours: Known, h_BMD: Tensor) -> Tensor:
        """Return x (B, M, D)."""
        own_BM1 = self.own_weight(ours.z_RMD).sigmoid()
        lent_BM1 = self.lent_weight(h_BMD).sigmoid()
        mixed_BMD = (own_BM1 * ours.z_RMD + lent_BM1 * h_BMD) / (own_BM1 + lent_BM1)
        return torch.where(ours.present_RM.unsqueeze(2), mixed_BMD, h_BMD)

    def read(self, x_BMD: Tensor, batch: Batch) -> Tensor:
        """Return all modalities after the transformer, side by side (B, M D)."""
        num_patients, num_modalities, _ = x_BMD.shape
        x_PD = (x_BMD + self.place_MD).flatten(0, 1)
        packing = Packing.uniform(num_patients, num_modalities, x_PD.device)
        context = GroupContext.from_batch(batch.present_BM, batch.group_B)
        for block in self.blocks:
            x_PD, _ = block(x_PD, packing, context)
        return self.norm(x_PD).unflatten(0, x_BMD.shape[:2]).flatten(1)

    @torch.no_grad()
    def _keep(self, ours: Known, g_BMD: Tensor) -> None:
        """Put the last patients of a batch in the place of those who are longest in the bank."""
        size = self.config.bank
        z_RMD, g_RMD, present_RM = ours.z_RMD[-size:], g_BMD[-size:], ours.present_RM[-size:]
        row_R = (self.bank_end + torch.arange(len(z_RMD), device=z_RMD.device)) % size
        self.bank_z_RMD[row_R] = z_RMD.to(self.bank_z_RMD.dtype)
        self.bank_g_RMD[row_R] = g_RMD.to(self.bank_g_RMD.dtype)
        self.bank_present_RM[row_R] = present_RM
        self.bank_end.copy_((self.bank_end + len(z_RMD)) % size)


def directions(x_RMD: Tensor) -> Tensor:
    """Return normalized vectors of length 1, modality by modality (M, R, D)."""
    return F.normalize(x_RMD - x_RMD.mean(2, keepdim=True), dim=2).transpose(0, 1)


def gaussian(our_BD: Tensor, their_RD: Tensor, log_radius: Tensor) -> Tensor:
    """Return the kernel (B, R) of vectors of length 1."""
    return ((our_BD @ their_RD.T - 1) * (-2 * log_radius).exp()).exp()


def weighted_mean(a_BR: Tensor, x_RMD: Tensor, present_RM: Tensor | None = None) -> Tensor:
    """Return means (B, M, D) of what patients have, with weights; 0 where all weights are.

    Args:
        a_BR: weights, >= 0.
        x_RMD: what they have.
        present_RM: whose counts; all if None.
    """
    if present_RM is None:
        sum_BM1 = a_BR.sum(1)[:, None, None]
    else:
        x_RMD = x_RMD * present_RM.unsqueeze(2)
        sum_BM1 = (a_BR @ present_RM.to(a_BR.dtype)).unsqueeze(2)
    mean_BMD = (a_BR @ x_RMD.flatten(1)).unflatten(1, x_RMD.shape[1:])
    return mean_BMD / sum_BM1.where(sum_BM1 > 0, 1)


M3CARE = NeuralMethod(
    name="m3care",
    build=M3Care,
    model_config=M3CareConfig(),
    train_config=TrainConfig(ema=0.99, lr=1e-3, weight_decay=1e-2, selection="mean"),
    is_of_batches=True,
    space={
        **NEURAL,
        "hidden": Choice((96, 192, 384)),
        "blocks": Range(low=1, high=3, whole=True),
        "stability": Range(low=1e-3, high=1.0, log=True),
    },
)
