"""Notes as chunks for a transformer: their vectors, made once, or their tokens, to train it on."""

# N patients, V chunks, F tokens of chunks, d numbers of a vector

from dataclasses import dataclass
from typing import Any

import numpy as np

from remind.cohort.kinds.moments import moments_of_sums
from remind.cohort.kinds.ragged import Ragged
from remind.cohort.kinds.text_model import Chunks, LanguageModel, check_unchanged, chunk_notes
from remind.cohort.kinds.text_notes import Notes
from remind.cohort.store import RecordStore

READ_TOGETHER = 4096  # vectors


@dataclass(frozen=True, kw_only=True, eq=False)
class VectorValues:
    """Chunks of N patients as vectors of a frozen transformer.

    Args:
        items: column `place`, in the store.
        store: of the vectors.
        mean_d, std_d: of training, float32.
    """

    items: Ragged
    store: RecordStore
    mean_d: np.ndarray
    std_d: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class VectorBatch:
    """Chunks of a batch as vectors; tensors once in a Batch.

    Args:
        owner_V: position of the patient in the batch, int64, ascending.
        x_Vd: standardised by mean and standard deviation of training, float32.
    """

    owner_V: Any
    x_Vd: Any


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenBatch:
    """Chunks of a batch as tokens; tensors once in a Batch.

    Args:
        owner_V: position of the patient in the batch, int64, ascending.
        length_V: tokens of each chunk, int64.
        token_F: of all chunks, one after the other, int32.
    """

    owner_V: Any
    length_V: Any
    token_F: Any


def fit_moments(model: LanguageModel, notes: Notes) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the chunks of these patients, who are those of training."""
    _, store, place_V = _vectors(model, notes)
    sum_d, square_d = np.zeros((2, model.dim))
    for first in range(0, len(place_V), READ_TOGETHER):
        x_Vd = store.read(place_V[first : first + READ_TOGETHER]).astype(np.float64)
        sum_d += x_Vd.sum(axis=0)
        square_d += (x_Vd**2).sum(axis=0)
    return moments_of_sums(sum_d, square_d, len(place_V))


def encode_vectors(
    model: LanguageModel, mean: tuple[float, ...], std: tuple[float, ...], notes: Notes
) -> VectorValues:
    """The vectors of patients' chunks; those that were never made are made now.

    Raises:
        InputError: the folder of the model is gone, or holds another one.
    """
    chunks, store, place_V = _vectors(model, notes)
    return VectorValues(
        items=Ragged(start_N1=chunks.items.start_N1, columns={"place": place_V}),
        store=store,
        mean_d=np.array(mean, np.float32),
        std_d=np.array(std, np.float32),
    )


def encode_tokens(model: LanguageModel, notes: Notes) -> Chunks:
    """The tokens of patients' chunks.

    Raises:
        InputError: the folder of the model is gone, or holds another one.
    """
    check_unchanged(model, are_weights_needed=False)
    return chunk_notes(model, notes)


def batch_vectors(values: VectorValues, rows: np.ndarray) -> VectorBatch:
    """The vectors of some patients."""
    owner_V, item_V = values.items.items(rows)
    x_Vd = values.store.read(values.items.columns["place"][item_V])
    return VectorBatch(owner_V=owner_V, x_Vd=(x_Vd - values.mean_d) / values.std_d)


def batch_tokens(values: Chunks, rows: np.ndarray) -> TokenBatch:
    """The tokens of some patients."""
    owner_V, item_V = values.items.items(rows)
    _, place_F = values.tokens.items(item_V)
    return TokenBatch(
        owner_V=owner_V,
        length_V=values.tokens.counts_N[item_V],
        token_F=values.tokens.columns["token"][place_F],
    )


def flat_vectors(model: LanguageModel, notes: Notes) -> tuple[list[str], np.ndarray]:
    """Number of notes, and the mean vector of the chunks of each patient (N, 1 + d)."""
    chunks, store, place_V = _vectors(model, notes)
    x_NP = np.full((len(notes), 1 + model.dim), np.nan, np.float32)
    x_NP[:, 0] = notes.items.counts_N
    for n in np.flatnonzero(chunks.items.counts_N):
        start, stop = chunks.items.start_N1[n : n + 2]
        x_NP[n, 1:] = store.read(place_V[start:stop]).mean(axis=0)
    return ["notes", *(str(i) for i in range(model.dim))], x_NP


def _vectors(model: LanguageModel, notes: Notes) -> tuple[Chunks, RecordStore, np.ndarray]:
    """Chunks, the store of their vectors, and their places there."""
    from remind.cohort.features.text import frozen_vectors  # torch, only where it is needed

    check_unchanged(model, are_weights_needed=True)
    chunks = chunk_notes(model, notes)
    store, place_V = frozen_vectors(model, chunks.tokens)
    return chunks, store, place_V
