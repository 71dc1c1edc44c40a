"""Codes to tokens: each is the sum of its parts, and a patient is the sum of codes, and more.

T tokens, D width, V codes of a batch, W parts of codes, K rows of the table of codes, d width of a
code, M modalities, B patients of a batch, S patients with the modality.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.cohort.kinds.codes import CodesBatch
from remind.cohort.kinds.codes_vocabulary import CodesModality
from remind.encoders.events import EVENT_WIDTH, EventPool, seen_events
from remind.encoders.modalities import ModalityEncoders
from remind.encoders.tokens import Tokens

START = 0.005  # standard deviation of the table of codes before training
COMMON = 0.1  # occurrences per patient from which on a code is trained in full
BAG_GAIN = 3.0  # of the sum of codes over the root of their usual number


class CodesEncoder(ModalityEncoders):
    """Encoders of the modalities of codes."""

    def make_part(
        self, item: CodesModality, *, width: int, num_modalities: int, rank: int
    ) -> "BagEncoder":
        """Make the encoder of one modality."""
        return BagEncoder(item, width=width, num_modalities=num_modalities)


class BagEncoder(nn.Module):
    """Q tokens of one modality: its codes, and when they were given, as a set.

        e_v = sum over parts k of v of sqrt(min(1, mean_k / COMMON)) table_k
        token_q = pool_q({e_v, time of v}) + [q is the first] P (sum_v e_v - sum_k mean_k e_k)

    The parts of a code are itself, if frequent, and its frequent ancestors. The sum over a
    patient's codes is a low-rank linear map of how often each part occurs, less how often it does
    on average (mean_k): the burden of illness adds up, code by code, where the weighted means of
    the pool, which see time and company, forget it. As of n-grams, the table starts near zero, and
    a rare part moves less than a common one, as under a penalty.

    Args:
        item: the modality.
        width, num_modalities: as above.
    """

    share_K1: Tensor
    mean_K: Tensor

    def __init__(self, item: CodesModality, *, width: int, num_modalities: int) -> None:
        super().__init__()
        self.modality, self.num_tokens = item.index, item.num_tokens
        mean_K = torch.tensor(item.mean_K, dtype=torch.float32)
        share_K1 = (mean_K / COMMON).clamp(max=1).sqrt().unsqueeze(1)
        self.register_buffer("mean_K", mean_K, persistent=False)
        self.register_buffer("share_K1", share_K1, persistent=False)
        self.table_Kd = nn.Parameter(START * torch.randn(item.num_rows, EVENT_WIDTH))
        usual = max(1.0, math.expm1(item.count.mean))
        project_dD = torch.empty(EVENT_WIDTH, width).uniform_(-1, 1) / EVENT_WIDTH**0.5
        self.project_dD = nn.Parameter(BAG_GAIN / usual**0.5 * project_dD)
        self.pool = EventPool(
            item.index,
            item.count,
            is_timed=item.time is not None,
            width=width,
            num_modalities=num_modalities,
            num_tokens=item.num_tokens,
        )

    def forward(self, values: CodesBatch, present_BM: Tensor) -> Tokens:
        """Encode the codes of a batch."""
        seen = seen_events(values.owner_V, self.modality, present_BM)
        num_V, owner_V = values.num_V[seen], values.owner_V[seen]
        code_W = torch.arange(len(values.num_V), device=seen.device).repeat_interleave(values.num_V)
        is_seen_W = present_BM[values.owner_V[code_W], self.modality]
        table_Kd = self.share_K1 * self.table_Kd
        x_Vd = F.embedding_bag(
            values.row_W[is_seen_W].long(), table_Kd, num_V.cumsum(0) - num_V, mode="sum"
        )
        tokens = self.pool(x_Vd, values.place_V2[seen], owner_V, present_BM)
        first_T = torch.arange(len(tokens.x_TD), device=seen.device) % self.num_tokens == 0
        sum_Bd = x_Vd.new_zeros(len(present_BM), EVENT_WIDTH).index_add(0, owner_V, x_Vd)
        bag_Sd = sum_Bd[tokens.owner_T[first_T]] - self.mean_K @ table_Kd
        x_TD = tokens.x_TD.index_add(0, first_T.nonzero().squeeze(1), bag_Sd @ self.project_dD)
        return tokens._replace(x_TD=x_TD)
