"""Notes to tokens: every part of a patient's notes is an item, and attention pools them.

T tokens, D width, B patients, M modalities, V items of a modality in a batch, F n-grams or tokens
of items, K n-grams of a vocabulary, r width of an n-gram, d numbers of a transformer's vector.
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.cohort.features.text import ChunkPlan, ChunkVectors
from remind.cohort.kinds.text import TextBatch, TextModality
from remind.cohort.kinds.text_model import LanguageModel
from remind.cohort.kinds.text_ngrams import NgramBatch, Vocabulary
from remind.cohort.kinds.text_vectors import TokenBatch, VectorBatch
from remind.encoders.items import ItemPlan, ItemPool
from remind.encoders.modalities import ModalityEncoders
from remind.encoders.plan import PlannedEncoder, places_of_parts
from remind.encoders.tokens import Tokens

NGRAM_WIDTH = 32
NGRAM_START = 0.005  # standard deviation of the table of n-grams before training
NGRAM_SCALE = 0.6
NGRAM_DROPOUT = 0.5
COMMON = 0.1  # share of patients that have an n-gram from which on it is trained in full
VECTOR_DROPOUT = 0.3
FINE_TUNING = 0.01  # of the learning rate, for the weights of a transformer


class TextEncoder(ModalityEncoders):
    """Encoders of the modalities of notes."""

    def make_part(
        self, item: TextModality, *, width: int, num_modalities: int, rank: int
    ) -> "NoteEncoder":
        """Make the encoder of one modality."""
        return NoteEncoder(item, width=width)


class NotePlan(NamedTuple):
    """Where the tokens of notes come from.

    Attributes:
        items: which are read.
        parts: of the n-grams or tokens of those items, as the encoder of items has it.
    """

    items: ItemPlan
    parts: Any

    @property
    def owner_T(self) -> Tensor:
        """Patient of each token, int64."""
        return self.items.owner_T

    @property
    def modality_T(self) -> Tensor:
        """Modality of each token, int64."""
        return self.items.modality_T


class NoteEncoder(PlannedEncoder):
    """Tokens of one modality; only the notes of patients that are observed in it are read."""

    def __init__(self, item: TextModality, *, width: int) -> None:
        super().__init__()
        if item.vocabulary is not None:
            self.items: Items = NgramItems(item.vocabulary)
            item_width = NGRAM_WIDTH
        else:
            assert item.model is not None
            model, item_width = item.model, width
            self.items = TrainedItems(model, width) if item.train else FrozenItems(model.dim, width)
        self.pool = ItemPool(
            item.index,
            item_width=item_width,
            width=width,
            num_tokens=item.num_tokens,
        )

    def plan(self, values: TextBatch, present_BM: Tensor) -> NotePlan:
        """Find the items that are read, and their parts."""
        items = self.pool.plan(values.owner_V, present_BM)
        return NotePlan(items, self.items.plan(values, items.item_V))

    def encode(self, values: TextBatch, plan: NotePlan) -> Tokens:
        """Encode the observed notes of a batch."""
        return self.pool(self.items(values, plan.items.item_V, plan.parts), plan.items)


class Items(nn.Module, ABC):
    """What makes the items of notes."""

    @abstractmethod
    def plan(self, values: Any, item_V: Tensor) -> Any:
        """Find the parts of some items, on the host."""

    @abstractmethod
    def forward(self, values: Any, item_V: Tensor, plan: Any) -> Tensor:
        """Return those items."""


class NgramPlan(NamedTuple):
    """N-grams of the items that are read, int64.

    Attributes:
        ngram_F: their places.
        start_V: the first of each item's.
    """

    ngram_F: Tensor
    start_V: Tensor


class NgramItems(Items):
    """Items as weighted sums of n-grams, a low-rank map of tf-idf.

        x_v = scale * sum over n-grams f of item v of weight_vf sqrt(min(1, n_f / (0.1 n))) table_f

    The table starts near zero, so that n-grams that training says nothing about add no noise. An
    optimizer that normalizes gradients moves the row of an n-gram that few patients have as far as
    one that many have; the root of its frequency makes it move less, as a penalty would. In
    training a random half of the n-grams is dropped.

    Args:
        vocabulary: of K n-grams, which n_f of n training patients have.
    """

    share_K: Tensor

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        counts_K = torch.tensor(vocabulary.counts or (1,), dtype=torch.float32)
        share_K = (counts_K / (COMMON * max(1, vocabulary.num_patients))).clamp(max=1).sqrt()
        self.register_buffer("share_K", share_K, persistent=False)
        self.table_Kr = nn.Parameter(NGRAM_START * torch.randn(len(share_K), NGRAM_WIDTH))
        self.dropout = nn.Dropout(NGRAM_DROPOUT)

    def plan(self, values: NgramBatch, item_V: Tensor) -> NgramPlan:
        """Find the n-grams of items, on the host."""
        num_V = torch.bincount(values.item_F, minlength=len(values.owner_V))
        return NgramPlan(*places_of_parts(num_V, item_V))

    def forward(self, values: NgramBatch, item_V: Tensor, plan: NgramPlan) -> Tensor:
        """Return the items (V, r) that are read."""
        row_F = values.row_F.index_select(0, plan.ngram_F)
        weight_F = values.weight_F.index_select(0, plan.ngram_F)
        x_Vr = F.embedding_bag(
            row_F,
            self.table_Kr,
            plan.start_V,
            mode="sum",
            per_sample_weights=self.dropout(weight_F * self.share_K.index_select(0, row_F)),
        )
        return NGRAM_SCALE * x_Vr


class FrozenItems(Items):
    """Items as a linear map of standardised vectors that a frozen transformer made.

    Args:
        dim: d.
        width: D, of an item too.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.map = nn.Linear(dim, width)
        self.dropout = nn.Dropout(VECTOR_DROPOUT)

    def plan(self, values: VectorBatch, item_V: Tensor) -> None:
        """Nothing: an item is one vector."""

    def forward(self, values: VectorBatch, item_V: Tensor, plan: None) -> Tensor:
        """Return the items (V, D) that are read."""
        return self.map(self.dropout(values.x_Vd.index_select(0, item_V)))


class TrainedItems(Items):
    """Items as a linear map of the vectors of a transformer that is trained too.

    Its weights learn at a small share of the learning rate, lest they forget what they know.

    Args:
        model: whose folder to read.
        width: D, of an item too.
    """

    def __init__(self, model: LanguageModel, width: int) -> None:
        super().__init__()
        self.vectors = ChunkVectors(model)
        for parameter in self.vectors.parameters():
            parameter.lr_scale = FINE_TUNING  # type: ignore[attr-defined]  # `make_optimizer` reads it
        self.norm = nn.LayerNorm(model.dim)
        self.map = nn.Linear(model.dim, width)

    def plan(self, values: TokenBatch, item_V: Tensor) -> ChunkPlan:
        """Find which items go through the transformer together, on the host."""
        return ChunkPlan.of(values.length_V, item_V)

    def forward(self, values: TokenBatch, item_V: Tensor, plan: ChunkPlan) -> Tensor:
        """Return the items (V, D) that are read."""
        return self.map(self.norm(self.vectors(values.token_F, plan)))
