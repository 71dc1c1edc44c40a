"""What one needs to know of notes before training."""

# N patients, V notes

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from remind.cohort.kinds.text_model import chunk_notes, open_model
from remind.cohort.kinds.text_ngrams import num_items
from remind.cohort.kinds.text_notes import Notes, is_last
from remind.cohort.kinds.text_words import words_of


def facts_of(notes: Notes) -> dict[str, Any]:
    """Counts and lengths of notes, how many are cut, and how much of their words is shared.

    The coverage is the share of all words in notes that two patients or more have, so that
    something can be learned of them.
    """
    uses: Counter[str] = Counter()
    num_having: Counter[str] = Counter()
    words_V: list[int] = []
    for start, stop in zip(notes.items.start_N1[:-1], notes.items.start_N1[1:], strict=True):
        words = [words_of(text) for text in notes.text_V[start:stop]]
        words_V += map(len, words)
        for some in words:
            uses.update(some)
        num_having.update({word for some in words for word in some})
    shared = sum(num for word, num in uses.items() if num_having[word] > 1)
    counts_N = notes.items.counts_N
    return {
        "notes": len(words_V),
        "per_patient": _range(counts_N[counts_N > 0].tolist()),
        "words": _range(words_V),
        "distinct_words": len(uses),
        "coverage": shared / uses.total() if uses else None,
        "encoder": notes.spec.encoder,
        **(_of_words(notes, words_V) if notes.spec.model is None else _of_tokens(notes)),
    }


def _of_words(notes: Notes, words_V: list[int]) -> dict[str, Any]:
    """How many notes are cut: parts of them are left out, for the patient has too many."""
    note_W = np.repeat(np.arange(len(words_V)), num_items(np.array(words_V, dtype=np.int64)))
    owner_V = np.repeat(np.arange(len(notes)), notes.items.counts_N)
    is_out_W = ~is_last(owner_V[note_W], notes.spec.max_chunks)
    return {"truncated": len(np.unique(note_W[is_out_W]))}


def _of_tokens(notes: Notes) -> dict[str, Any]:
    model = open_model(notes.spec, notes.folder)
    chunks = chunk_notes(model, notes)
    return {
        "truncated": chunks.num_truncated,
        "model": notes.spec.model,
        "unknown_tokens": chunks.unknown,
        "longest_chunk": model.max_tokens,
    }


def _range(numbers: Sequence[int]) -> dict[str, float | None]:
    low, middle, high = np.quantile(numbers, [0, 0.5, 1]).tolist() if numbers else (None,) * 3
    return {"min": low, "median": middle, "max": high}
