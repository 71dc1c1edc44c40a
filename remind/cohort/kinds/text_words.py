"""Words of texts, and their hashed n-grams: the same on every machine, for any language's letters.

A text has, besides its words and pairs of neighbouring words, the sequences of 3 to 5 characters of
each word between a sign for its start and one for its end (as in fastText, Bojanowski et al. 2017):
they share what inflections, compounds and misspellings have in common. A word is hashed once,
however often it occurs.
"""

# V texts, W words of all texts in order, U distinct words, F n-grams of texts

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import pandas as pd

from remind.cohort.columns import text_hash

HASH_BITS = 20  # of a bucket; the highest one tells sequences of characters from words
LONGEST_WORD = 32  # characters of a word that sequences are taken of
LENGTHS = (3, 4, 5)
WORD = re.compile(r"\w+")
MIX = np.uint64(0x9E3779B97F4A7C15)  # odd; golden ratio of 2^64 (Knuth, multiplicative hashing)


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case; signs above or below a letter are of its word."""
    text = unicodedata.normalize("NFKC", text)
    marks = sorted(sign for sign in set(text) if unicodedata.category(sign) in ("Mn", "Mc"))
    word = re.compile(rf"\w[\w{''.join(marks)}]*") if marks else WORD
    return word.findall(text.lower())


def ngrams(texts_VW: Sequence[list[str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count the n-grams of some texts, given as words.

    Returns:
        Position of the text and bucket < 2^20 of each different n-gram in it, int64, sorted by text
        and there by bucket, and how often it occurs, int64. `is_part` tells what a bucket is of.
    """
    text_F, bucket_F = _buckets(texts_VW)
    key_F, count_F = np.unique((text_F << HASH_BITS) | bucket_F, return_counts=True)
    return key_F >> HASH_BITS, key_F & ((1 << HASH_BITS) - 1), count_F


def is_part(bucket_F: np.ndarray) -> np.ndarray:
    """Whether buckets are of sequences of characters, not of words and pairs."""
    return bucket_F >> (HASH_BITS - 1) == 1


def _buckets(texts_VW: Sequence[list[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Text and bucket of every n-gram of some texts."""
    length_V = np.array([len(words) for words in texts_VW], dtype=np.int64)
    text_W = np.repeat(np.arange(len(texts_VW)), length_V)
    if len(text_W) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    word_W, words_U = pd.factorize(np.array([w for words in texts_VW for w in words], object))
    words_U = np.asarray(words_U)
    hash_W = text_hash(words_U)[word_W]
    is_pair_W = text_W[1:] == text_W[:-1]
    pair_W = (hash_W[:-1] * MIX) ^ hash_W[1:]
    start_U1, part_P = _parts(words_U)
    length_W = np.diff(start_U1)[word_W]
    first_W = np.cumsum(length_W) - length_W
    owner_P = np.repeat(np.arange(len(word_W)), length_W)
    place_P = np.arange(len(owner_P)) - first_W[owner_P] + start_U1[word_W][owner_P]
    text_F = np.concatenate([text_W, text_W[1:][is_pair_W], text_W[owner_P]])
    bucket_F = _bucket(np.concatenate([hash_W, pair_W[is_pair_W], part_P[place_P]]))
    bucket_F[len(text_F) - len(place_P) :] |= 1 << (HASH_BITS - 1)
    return text_F, bucket_F


def _bucket(hash_F: np.ndarray) -> np.ndarray:
    """The highest bits of mixed hashes, but for the one that tells words from parts."""
    return ((hash_F * MIX) >> np.uint64(65 - HASH_BITS)).astype(np.int64)


def _parts(words_U: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the character sequences of words, one word after the other, and their starts."""
    parts: list[str] = []
    start_U1 = np.zeros(len(words_U) + 1, np.int64)
    for u, word in enumerate(words_U):
        marked = f"<{word[:LONGEST_WORD]}>"
        parts += [marked[i : i + n] for n in LENGTHS for i in range(len(marked) - n + 1)]
        start_U1[u + 1] = len(parts)
    part_P, parts_Q = pd.factorize(np.array(parts, object))
    return start_U1, text_hash(np.asarray(parts_Q), seed=1)[part_P] if len(parts) else np.zeros(
        0, np.uint64
    )
