"""Codes to tokens: each is the sum of its parts, and a patient is the sum of codes, and more.

T tokens, D width, V codes of a batch, W parts of codes, K rows of the table of codes, d width of a
code, M modalities, B patients of a batch, S patients with the modality.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.cohort.kinds.codes import CodesBatch
from remind.cohort.kinds.codes_vocabulary import CodesModality
from remind.encoders.events import EVENT_WIDTH, EventPool
from remind.encoders.items import ItemPlan
from remind.encoders.modalities import ModalityEncoders
from remind.encoders.plan import PlannedEncoder, places_of_parts
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
        return BagEncoder(item, width=width)


class BagPlan(NamedTuple):
    """Where the tokens of codes come from; int64.

    Attributes:
        codes: which are read.
        part_W: the parts of those, code by code.
        start_V: the first of every code.
    """

    codes: ItemPlan
    part_W: Tensor
    start_V: Tensor

    @property
    def owner_T(self) -> Tensor:
        """Patient of each token."""
        return self.codes.owner_T

    @property
    def modality_T(self) -> Tensor:
        """Modality of each token."""
        return self.codes.modality_T


class BagEncoder(PlannedEncoder):
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
        width: as above.
    """

    share_K1: Tensor
    mean_K: Tensor

    def __init__(self, item: CodesModality, *, width: int) -> None:
        super().__init__()
        self.num_tokens = item.num_tokens
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
            num_tokens=item.num_tokens,
        )

    def plan(self, values: CodesBatch, present_BM: Tensor) -> BagPlan:
        """Find the codes that are read, and their parts."""
        codes = self.pool.plan(values.owner_V, present_BM)
        return BagPlan(codes, *places_of_parts(values.num_V, codes.item_V))

    def encode(self, values: CodesBatch, plan: BagPlan) -> Tokens:
        """Encode the codes of a batch."""
        table_Kd = self.share_K1 * self.table_Kd
        row_W = values.row_W.index_select(0, plan.part_W).long()
        x_Vd = F.embedding_bag(row_W, table_Kd, plan.start_V, mode="sum")
        place_V2 = values.place_V2.index_select(0, plan.codes.item_V)
        tokens = self.pool(x_Vd, place_V2, plan.codes)
        sum_Sd = x_Vd.new_zeros(len(plan.codes.num_S), EVENT_WIDTH)
        sum_Sd = sum_Sd.index_add(0, plan.codes.patient_V, x_Vd)
        bag_SD = (sum_Sd - self.mean_K @ table_Kd) @ self.project_dD
        first_S = torch.arange(len(bag_SD), device=bag_SD.device) * self.num_tokens
        return tokens._replace(x_TD=tokens.x_TD.index_add(0, first_S, bag_SD.to(tokens.x_TD.dtype)))
