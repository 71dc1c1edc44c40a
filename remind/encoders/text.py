"""Notes to tokens: every part of a patient's notes is an item, and attention pools them.

T tokens, D width, B patients, M modalities, V items of a modality in a batch, F n-grams or tokens
of items, K n-grams of a vocabulary, r width of an n-gram, d numbers of a transformer's vector.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.cohort.features.text import ChunkVectors
from remind.cohort.kinds.text import TextBatch, TextModality
from remind.cohort.kinds.text_model import LanguageModel
from remind.cohort.kinds.text_ngrams import NgramBatch, Vocabulary
from remind.cohort.kinds.text_vectors import TokenBatch, VectorBatch
from remind.encoders.items import ItemPool
from remind.encoders.modalities import ModalityEncoders
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
        return NoteEncoder(item, width=width, num_modalities=num_modalities)


class NoteEncoder(nn.Module):
    """Tokens of one modality; only the notes of patients that are observed in it are read."""

    def __init__(self, item: TextModality, *, width: int, num_modalities: int) -> None:
        super().__init__()
        self.index = item.index
        if item.vocabulary is not None:
            self.items, item_width = NgramItems(item.vocabulary), NGRAM_WIDTH
        else:
            assert item.model is not None
            model, item_width = item.model, width
            self.items = TrainedItems(model, width) if item.train else FrozenItems(model.dim, width)
        self.pool = ItemPool(
            [item.index],
            item_width=item_width,
            width=width,
            num_modalities=num_modalities,
            num_tokens=item.num_tokens,
        )

    def forward(self, values: TextBatch, present_BM: Tensor) -> Tokens:
        """Encode the observed notes of a batch."""
        seen_V = present_BM[values.owner_V, self.index]
        owner_V = values.owner_V[seen_V]
        modality_V = torch.full_like(owner_V, self.index)
        return self.pool(self.items(values, seen_V), owner_V, modality_V, present_BM)


class NgramItems(nn.Module):
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

    def forward(self, values: NgramBatch, seen_V: Tensor) -> Tensor:
        """Return the items (V, r) that are seen."""
        seen_F = seen_V[values.item_F]
        row_F = values.row_F[seen_F]
        num_V = torch.bincount(values.item_F, minlength=len(seen_V))[seen_V]
        x_Vr = F.embedding_bag(
            row_F,
            self.table_Kr,
            num_V.cumsum(0) - num_V,
            mode="sum",
            per_sample_weights=self.dropout(values.weight_F[seen_F] * self.share_K[row_F]),
        )
        return NGRAM_SCALE * x_Vr


class FrozenItems(nn.Module):
    """Items as a linear map of standardised vectors that a frozen transformer made.

    Args:
        dim: d.
        width: D, of an item too.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.map = nn.Linear(dim, width)
        self.dropout = nn.Dropout(VECTOR_DROPOUT)

    def forward(self, values: VectorBatch, seen_V: Tensor) -> Tensor:
        """Return the items (V, D) that are seen."""
        return self.map(self.dropout(values.x_Vd[seen_V]))


class TrainedItems(nn.Module):
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

    def forward(self, values: TokenBatch, seen_V: Tensor) -> Tensor:
        """Return the items (V, D) that are seen."""
        seen_F = seen_V.repeat_interleave(values.length_V)
        start_V1 = F.pad(values.length_V[seen_V].cumsum(0), (1, 0))
        return self.map(self.norm(self.vectors(values.token_F[seen_F], start_V1)))
