"""Notes as weights of hashed n-grams: tf-idf, with the frequencies of training patients.

An item is a part of a note of at most 256 words. An n-gram f that occurs c times in it weighs
(1 + log c) (1 + log((1 + n) / (1 + n_f))), where n_f of n training patients have it. Of each item
the weights of words and pairs have length 1, and so have those of sequences of characters.
"""

# N patients, V items (parts of notes), F n-grams of items, K n-grams of the vocabulary

import base64
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, NamedTuple, Self

import numpy as np

from remind.cohort.kinds.ragged import Ragged
from remind.cohort.kinds.text_notes import Notes, is_last, starts
from remind.cohort.kinds.text_words import HASH_BITS, is_part, ngrams, words_of

CHUNK_WORDS = 256
BLOCK = 1024  # patients that are read at once
MIN_PATIENTS = 2
MAX_NGRAMS = 1 << 15
NUM_WORDS = 256  # of the flat table
RARE_SHARE = 0.01  # of patients that have a word of the flat table, at least


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The n-grams that at least two training patients have; the most frequent ones, if too many.

    Args:
        num_patients: n, training patients with notes.
        buckets: K hashes, ascending.
        counts: patients n_f that have each.
        words: of the flat table, by how evenly they split the training patients.
    """

    num_patients: int
    buckets: tuple[int, ...]
    counts: tuple[int, ...]
    words: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON, packed."""
        steps_K = np.diff(self.buckets, prepend=0)
        return {
            "num_patients": self.num_patients,
            "buckets": _pack(steps_K),
            "counts": _pack(np.array(self.counts)),
            "words": list(self.words),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The vocabulary of `to_dict`."""
        return cls(
            num_patients=data["num_patients"],
            buckets=tuple(np.cumsum(_unpack(data["buckets"])).tolist()),
            counts=tuple(_unpack(data["counts"]).tolist()),
            words=tuple(data["words"]),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class NgramValues:
    """N patients' items, and what n-grams are in each.

    Args:
        items: without columns; item v is entry v of `ngrams`.
        ngrams: of items: `row` in the vocabulary, int32, and `weight`, float16.
    """

    items: Ragged
    ngrams: Ragged


@dataclass(frozen=True, kw_only=True, eq=False)
class NgramBatch:
    """N-grams of the items of a batch; tensors once in a Batch.

    Args:
        owner_V: position of the patient in the batch, int64, ascending.
        item_F: position v of the item of each n-gram, int64, ascending.
        row_F: in the vocabulary, int64.
        weight_F: float32.
    """

    owner_V: Any
    item_F: Any
    row_F: Any
    weight_F: Any


def fit_vocabulary(notes: Notes) -> Vocabulary:
    """The n-grams of these patients, who are those of training."""
    counts_H = np.zeros(1 << HASH_BITS, np.int64)
    num_having: Counter[str] = Counter()
    for owner_V, words_V in _blocks(notes):
        item_F, bucket_F, _ = ngrams(words_V)
        keys = np.unique((owner_V[item_F] << HASH_BITS) | bucket_F)  # an n-gram once per patient
        counts_H += np.bincount(keys & (len(counts_H) - 1), minlength=len(counts_H))
        num_having.update(_once_per_patient(owner_V, words_V))
    kept_K = np.flatnonzero(counts_H >= MIN_PATIENTS)
    if len(kept_K) > MAX_NGRAMS:
        order_K = np.argsort(-counts_H[kept_K], kind="stable")
        kept_K = np.sort(kept_K[order_K[:MAX_NGRAMS]])
    num_patients = int((notes.items.counts_N > 0).sum())
    return Vocabulary(
        num_patients=num_patients,
        buckets=tuple(kept_K.tolist()),
        counts=tuple(counts_H[kept_K].tolist()),
        words=_even_words(num_having, num_patients),
    )


def encode_ngrams(vocabulary: Vocabulary, notes: Notes) -> NgramValues:
    """The items of patients, and the weights of their n-grams that training has."""
    row_H = np.full(1 << HASH_BITS, -1, np.int32)
    row_H[list(vocabulary.buckets)] = np.arange(len(vocabulary.buckets))
    idf_K = np.log((1 + vocabulary.num_patients) / (1 + np.array(vocabulary.counts))) + 1
    counts_N, parts = np.zeros(len(notes), np.int64), [_Part.nothing()]
    for owner_V, words_V in _blocks(notes):
        counts_N += np.bincount(owner_V, minlength=len(notes))
        item_F, bucket_F, count_F = ngrams(words_V)
        is_known_F = row_H[bucket_F] >= 0
        item_F, bucket_F, count_F = item_F[is_known_F], bucket_F[is_known_F], count_F[is_known_F]
        weight_F = (1 + np.log(count_F)) * idf_K[row_H[bucket_F]]
        length_S = np.bincount(2 * item_F + is_part(bucket_F), weight_F**2, 2 * len(words_V)) ** 0.5
        weight_F = weight_F / length_S[2 * item_F + is_part(bucket_F)]
        num_V = np.bincount(item_F, minlength=len(words_V))
        parts.append(_Part(num_V, row_H[bucket_F], weight_F.astype(np.float16)))
    num_V, row_F, weight_F = (np.concatenate(column) for column in zip(*parts, strict=True))
    return NgramValues(
        items=Ragged(start_N1=starts(counts_N), columns={}),
        ngrams=Ragged(start_N1=starts(num_V), columns={"row": row_F, "weight": weight_F}),
    )


def batch_ngrams(values: NgramValues, rows: np.ndarray) -> NgramBatch:
    """The items of some patients."""
    owner_V, item_V = values.items.items(rows)
    item_F, place_F = values.ngrams.items(item_V)
    return NgramBatch(
        owner_V=owner_V,
        item_F=item_F,
        row_F=values.ngrams.columns["row"][place_F].astype(np.int64),
        weight_F=values.ngrams.columns["weight"][place_F].astype(np.float32),
    )


def flat_words(vocabulary: Vocabulary, notes: Notes) -> tuple[list[str], np.ndarray]:
    """Numbers of notes and words, and whether each word of the flat table is there (N, F)."""
    column = {word: c for c, word in enumerate(vocabulary.words)}
    x_NF = np.zeros((len(notes), 2 + len(column)), np.float32)
    x_NF[:, 0] = notes.items.counts_N
    for n, words in enumerate(words_of_patients(notes)):
        x_NF[n, 1] = len(words)
        x_NF[n, [2 + column[word] for word in column.keys() & set(words)]] = 1
    return ["number of notes", "number of words", *vocabulary.words], x_NF


def words_of_patients(notes: Notes) -> Iterator[list[str]]:
    """All words of each patient."""
    for start, stop in pairwise(notes.items.start_N1.tolist()):
        yield [word for text in notes.text_V[start:stop] for word in words_of(text)]


def num_items(words_V: np.ndarray) -> np.ndarray:
    """Items of notes of so many words; one at least."""
    return np.maximum(1, -(-words_V // CHUNK_WORDS))


def _blocks(notes: Notes) -> Iterator[tuple[np.ndarray, list[list[str]]]]:
    """Patients, ascending, and words of the items that are used, some patients at a time."""
    for first in range(0, len(notes), BLOCK):
        some = notes.select(np.arange(first, min(first + BLOCK, len(notes))))
        words_V = [words_of(text) for text in some.text_V]
        note_V = np.repeat(np.arange(len(some)), some.items.counts_N)
        num_V = num_items(np.array([len(words) for words in words_V], dtype=np.int64))
        items = [
            words[start : start + CHUNK_WORDS]
            for words in words_V
            for start in range(0, max(1, len(words)), CHUNK_WORDS)
        ]
        owner_V = np.repeat(note_V, num_V)
        last_V = np.flatnonzero(is_last(owner_V, some.spec.max_chunks))
        yield first + owner_V[last_V], [items[v] for v in last_V]


class _Part(NamedTuple):
    """N-grams of some items: how many each has, their rows and weights."""

    num_V: np.ndarray
    row_F: np.ndarray
    weight_F: np.ndarray

    @classmethod
    def nothing(cls) -> Self:
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float16))


def _once_per_patient(owner_V: np.ndarray, words_V: list[list[str]]) -> Iterator[str]:
    of_patient: dict[int, set[str]] = {}
    for owner, words in zip(owner_V.tolist(), words_V, strict=True):
        of_patient.setdefault(owner, set()).update(words)
    return chain.from_iterable(of_patient.values())


def _even_words(num_having: Counter[str], num_patients: int) -> tuple[str, ...]:
    """Words that enough patients have and enough have not, those near a half first."""
    least = max(MIN_PATIENTS, RARE_SHARE * num_patients)
    ranked = sorted(
        (abs(2 * num - num_patients), word)
        for word, num in num_having.items()
        if least <= num <= num_patients - least
    )
    return tuple(word for _, word in ranked[:NUM_WORDS])


def _pack(numbers: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(numbers.astype("<u4").tobytes(), 9)).decode()


def _unpack(text: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<u4").astype(np.int64)
