"""Notes to tokens: every part of a patient's notes is an item, and attention pools them.

T tokens, D width, B patients, M modalities, V items of a modality in a batch, F n-grams or tokens
of items, K n-grams of a vocabulary, r width of an n-gram, d numbers of a transformer's vector.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.cohort.features.text import ChunkVectors
from remind.cohort.kinds.text import TextBatch, TextModality, TextSchema
from remind.cohort.kinds.text_ngrams import NgramBatch
from remind.cohort.kinds.text_vectors import TokenBatch, VectorBatch
from remind.encoders.items import ItemPool
from remind.encoders.tokens import Tokens, merge

import os
NGRAM_WIDTH = int(os.environ.get("WIDTH","32"))
NGRAM_DROPOUT = 0.3
FINE_TUNING = 0.01  # of the learning rate, for the weights of a transformer


class TextEncoder(nn.Module):
    """A few tokens per patient and modality of notes.

    Args:
        schema: of all text modalities.
        width: D.
        num_modalities: M of the cohort.
        rank: unused, for all encoders are built alike.
    """

    def __init__(
        self, schema: TextSchema, *, width: int, num_modalities: int, rank: int = 16
    ) -> None:
        super().__init__()
        self.names = [item.name for item in schema.modalities]
        self.parts = nn.ModuleList(
            NoteEncoder(item, width=width, num_modalities=num_modalities)
            for item in schema.modalities
        )

    def forward(self, values: dict[str, TextBatch], present_BM: Tensor) -> Tokens:
        """Encode the observed notes of a batch."""
        return merge(
            [
                part(values[name], present_BM)
                for name, part in zip(self.names, self.parts, strict=True)
            ]
        )


class NoteEncoder(nn.Module):
    """Tokens of one modality; only the notes of patients that are observed in it are read."""

    def __init__(self, item: TextModality, *, width: int, num_modalities: int) -> None:
        super().__init__()
        self.index = item.index
        if item.vocabulary is not None:
            self.items, item_width = NgramItems(len(item.vocabulary.buckets), item.vocabulary), NGRAM_WIDTH
        else:
            assert item.model is not None
            vectors = ChunkVectors(item.model) if item.train else None
            self.items, item_width = VectorItems(item.model.dim, width, vectors), width
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
    """Items as weighted sums of n-grams.

        x_v = sum over n-grams f of item v of weight_vf table_f

    Args:
        num_ngrams: K.
    """

    def __init__(self, num_ngrams: int, voc) -> None:
        super().__init__()
        import os
        sh = (torch.tensor(voc.counts).float()/voc.num_patients)**float(os.environ.get('POW','0'))
        sh = sh * float(os.environ.get('MUL','1'))
        self.register_buffer('sh', sh, persistent=False)
        self.table_Kr = nn.Parameter(torch.randn(max(1, num_ngrams), NGRAM_WIDTH)*float(os.environ.get('INIT','1')))
        self.p=float(os.environ.get('DROP','0.3'))
        self.mode=os.environ.get('MODE','plain')

    def forward(self, values: NgramBatch, seen_V: Tensor) -> Tensor:
        """Return x (V', r) of the items that are seen."""
        seen_F = seen_V[values.item_F]
        row_F, weight_F = values.row_F[seen_F], values.weight_F[seen_F]
        num_V = torch.bincount(values.item_F, minlength=len(seen_V))[seen_V]
        weight_F = F.dropout(weight_F*self.sh[row_F], self.p, self.training)
        return F.embedding_bag(
            row_F,
            self.table_Kr,
            num_V.cumsum(0) - num_V,
            mode="sum",
            per_sample_weights=weight_F,
        )


class VectorItems(nn.Module):
    def __init__(self, dim: int, width: int, vectors) -> None:
        super().__init__()
        self.vectors = vectors
        self.norm = nn.LayerNorm(dim)
        self.map = nn.Linear(dim, width)

    def forward(self, values, seen_V: Tensor) -> Tensor:
        if self.vectors is None:
            return self.map(values.x_Vd[seen_V])
        start_V1 = F.pad(values.length_V.cumsum(0), (1, 0))
        return self.map(self.norm(self.vectors(values.token_F, start_V1)[seen_V]))
