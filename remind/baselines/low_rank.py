"""Low-rank fusion: a product over modalities, a sum over ranks.

    h = sum_r w_r prod_m (W_m^r [z_m; 1]) + b       factor 1 for a missing modality;  y = head(h)

Liu et al. 2018, equation 6: the tensor product of all modalities with a weight tensor of rank R,
which is never formed. Left open there and filled here:

- z_m is the mean of a modality's tokens, shortened to a root mean square of 1 where it has more.
- The product is over all M modalities, 40 or more. Every factor starts as 1 + u with u of variance
  1 / M at most: the row of the constant is 1, the rest uniform and small. So the product starts
  with mean 1 and variance (1 + 1 / M)^M - 1 < e - 1 at most, whatever M is: it neither vanishes nor
  explodes. Weight decay draws factors to 1.
- Missing modalities, which the source does not have, are factors of 1.
- h is wide and goes through dropout to a linear head.

B patients, M modalities, D width, R rank, H width of h, C classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from remind.baselines.parts import PeerConfig, make_encoder
from remind.cohort import Batch, Encoding
from remind.fusion import FusionModel, Represented, mean_slots
from remind.objectives.checks import check_whole
from remind.training import NeuralMethod, TrainConfig
from remind.training.search import NEURAL, Choice, Range


@dataclass(frozen=True, kw_only=True)
class LowRankConfig(PeerConfig):
    """Options of low-rank fusion.

    Attributes:
        hidden: width of the fused representation, H.
        rank: number of products, R.
    """

    hidden: int = 128
    rank: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("hidden", self.hidden, at_least=1)
        check_whole("rank", self.rank, at_least=1)


class LowRank(nn.Module):
    """The products above, from slots.

    Args:
        num_modalities: M.
        width: D.
        hidden: H.
        rank: R.
    """

    def __init__(self, num_modalities: int, width: int, hidden: int, rank: int) -> None:
        super().__init__()
        # Uniform in +-sqrt(3 s) has variance s, here 1 / (D M).
        bound = (3 / (width * num_modalities)) ** 0.5
        weight_MDX = torch.empty(num_modalities, width, rank * hidden).uniform_(-bound, bound)
        self.weight_MDX = nn.Parameter(weight_MDX)  # X = R H, one matmul per modality
        self.offset_MX = nn.Parameter(torch.zeros(num_modalities, rank * hidden))  # from 1
        self.rank_R = nn.Parameter(torch.randn(rank) / rank**0.5)
        self.bias_H = nn.Parameter(torch.zeros(hidden))

    def forward(self, z_BMD: Tensor, present_BM: Tensor) -> Tensor:
        """Return h (B, H) of slots (B, M, D).

        The product grows modality by modality: only it is kept in prediction, not (B, M, R, H).
        """
        product_BX = z_BMD.new_ones(len(z_BMD), self.offset_MX.shape[1])
        for m, (weight_DX, offset_X) in enumerate(
            zip(self.weight_MDX, self.offset_MX, strict=True)
        ):
            factor_BX = torch.addmm(1 + offset_X, z_BMD[:, m], weight_DX)
            product_BX = product_BX * factor_BX.where(present_BM[:, m : m + 1], 1)
        product_BRH = product_BX.unflatten(1, (len(self.rank_R), -1))
        return torch.einsum("r,brh->bh", self.rank_R, product_BRH) + self.bias_H


class LowRankFusion(FusionModel):
    """Encoders, then products of modalities.

    Args:
        encoding: of the training rows.
        num_classes: C.
        config: options.
    """

    def __init__(self, encoding: Encoding, num_classes: int, config: LowRankConfig) -> None:
        super().__init__()
        self.encoder = make_encoder(encoding, config)
        self.fusion = LowRank(len(encoding.modalities), config.width, config.hidden, config.rank)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden, num_classes)

    def represent(self, batch: Batch) -> Represented:
        """Return what the products say (B, 1, H)."""
        z_BMD = shortened(mean_slots(self.encoder(batch), batch.present_BM))
        h_BH = self.fusion(z_BMD, batch.present_BM)
        return Represented(self.dropout(h_BH).unsqueeze(1), h_BH.new_zeros(()))

    def classify(self, x_BKD: Tensor) -> Tensor:
        """Return the logits (B, 1, C)."""
        return self.head(x_BKD)


def shortened(x_BMD: Tensor) -> Tensor:
    """Return vectors divided by their root mean square where that is above 1."""
    return x_BMD / x_BMD.square().mean(-1, keepdim=True).clamp_min(1).sqrt()


LOW_RANK = NeuralMethod(
    name="low_rank",
    build=LowRankFusion,
    model_config=LowRankConfig(),
    train_config=TrainConfig(ema=0.99, lr=1e-3, weight_decay=1e-2, selection="mean"),
    space={**NEURAL, "hidden": Choice((64, 128, 256)), "rank": Range(low=1, high=16, whole=True)},
)
