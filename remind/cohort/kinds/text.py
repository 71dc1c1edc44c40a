"""Notes, several per patient and of any length: hashed n-grams, or a transformer's embeddings.

A note is a set of parts: of 256 words for n-grams (`text_ngrams`), of the longest input for a
transformer (`text_model`), whose vectors are made once and kept by content (`features.text`), or in
training, with the transformer, from tokens.
"""

# N patients, V items (parts of notes), F tokens or n-grams of items, d of a vector, P flat columns

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from remind.cohort.kinds.base import FlatColumns, Kind
from remind.cohort.kinds.reading import Reading
from remind.cohort.kinds.text_facts import facts_of
from remind.cohort.kinds.text_model import LanguageModel, open_model
from remind.cohort.kinds.text_ngrams import (
    NgramBatch,
    NgramValues,
    Vocabulary,
    batch_ngrams,
    encode_ngrams,
    fit_vocabulary,
    flat_words,
)
from remind.cohort.kinds.text_notes import Notes, TextSpec, no_notes, read_notes
from remind.cohort.kinds.text_vectors import (
    Chunks,
    TokenBatch,
    VectorBatch,
    VectorValues,
    batch_tokens,
    batch_vectors,
    encode_tokens,
    encode_vectors,
    fit_moments,
    flat_vectors,
)

TextValues = NgramValues | VectorValues | Chunks
TextBatch = NgramBatch | VectorBatch | TokenBatch


@dataclass(frozen=True, kw_only=True)
class TextModality:
    """What training found of one modality; either a vocabulary or a model.

    Args:
        name: of the modality.
        index: into the cohort's modalities.
        num_tokens: of a patient in the model.
        vocabulary: of training patients' n-grams.
        model: that makes vectors of chunks.
        train: whether the model is trained.
        mean, std: of the vectors of training patients' chunks, d numbers; none if it is trained.
    """

    name: str
    index: int
    num_tokens: int
    vocabulary: Vocabulary | None = None
    model: LanguageModel | None = None
    train: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TextSchema:
    """All text modalities of a cohort, in order."""

    modalities: tuple[TextModality, ...]


class Text(Kind):
    """Raw values are `Notes`; encoded ones a dict of values by modality, as are batches."""

    name = "text"
    spec = TextSpec

    def read(self, reading: Reading, spec: TextSpec, schema: TextSchema | None) -> Notes:
        notes = read_notes(reading, spec)
        return no_notes(spec, len(reading.ids)) if notes is None else notes

    def absent(self, modality: str, spec: TextSpec, num_rows: int, schema: TextSchema) -> Notes:
        return no_notes(spec, num_rows)

    def present(self, raw: Notes) -> np.ndarray:
        return raw.items.counts_N > 0

    def select(self, raw: Notes, rows: np.ndarray) -> Notes:
        return raw.select(rows)

    def digest(self, raw: Notes) -> Iterator[bytes]:
        spec = raw.spec
        made_by = (spec.encoder, spec.model, spec.train, spec.max_chunks, spec.overlap)
        yield str(made_by).encode()
        yield raw.items.start_N1.tobytes()
        for text in raw.text_V:
            yield text.encode()

    def describe(self, raw: Notes) -> dict[str, Any]:
        return facts_of(raw)

    def fit(
        self,
        raws: Mapping[str, Notes],
        specs: Mapping[str, TextSpec],
        indices: Mapping[str, int],
        rows: np.ndarray,
        max_bins: int,
    ) -> TextSchema:
        return TextSchema(
            modalities=tuple(
                _fit(name, indices[name], raw.select(rows), specs[name])
                for name, raw in raws.items()
            )
        )

    def encode(
        self, schema: TextSchema, raws: Mapping[str, Notes], present_NM: np.ndarray
    ) -> dict[str, Any]:
        return {
            item.name: _encode(item, raws[item.name].only(present_NM[:, item.index]))
            for item in schema.modalities
        }

    def batch(self, encoded: dict[str, Any], rows: np.ndarray) -> dict[str, Any]:
        return {name: _batch(values, rows) for name, values in encoded.items()}

    def flat(self, schema: TextSchema, raws: Mapping[str, Notes]) -> FlatColumns:
        tables = [_flat(item, raws[item.name]) for item in schema.modalities]
        return FlatColumns.of([item.index for item in schema.modalities], tables)

    def overview(
        self, schema: TextSchema, raws: Mapping[str, Notes], rows: np.ndarray
    ) -> FlatColumns | None:
        """Of the notes that no transformer reads."""
        words = tuple(item for item in schema.modalities if item.vocabulary is not None)
        if not words:
            return None
        return self.flat(TextSchema(modalities=words), self.some(raws, rows))

    def dump(self, schema: TextSchema) -> dict[str, Any]:
        return {"modalities": [_dump(item) for item in schema.modalities]}

    def load(self, data: Mapping[str, Any]) -> TextSchema:
        return TextSchema(modalities=tuple(_load(item) for item in data["modalities"]))


def _fit(name: str, index: int, notes: Notes, spec: TextSpec) -> TextModality:
    item = TextModality(name=name, index=index, num_tokens=spec.num_tokens)
    if spec.encoder == "ngrams":
        return replace(item, vocabulary=fit_vocabulary(notes))
    model = open_model(spec, notes.folder)
    if spec.train:
        return replace(item, model=model, train=True)
    mean, std = fit_moments(model, notes)
    return replace(item, model=model, mean=mean, std=std)


def _encode(item: TextModality, notes: Notes) -> TextValues:
    if item.vocabulary is not None:
        return encode_ngrams(item.vocabulary, notes)
    assert item.model is not None
    if item.train:
        return encode_tokens(item.model, notes)
    return encode_vectors(item.model, item.mean, item.std, notes)


def _batch(values: TextValues, rows: np.ndarray) -> TextBatch:
    if isinstance(values, NgramValues):
        return batch_ngrams(values, rows)
    if isinstance(values, VectorValues):
        return batch_vectors(values, rows)
    return batch_tokens(values, rows)


def _flat(item: TextModality, notes: Notes) -> tuple[list[str], np.ndarray]:
    """Names and values (N, P) of the plain columns of a modality."""
    if item.vocabulary is not None:
        names, x_NP = flat_words(item.vocabulary, notes)
    else:
        assert item.model is not None
        names, x_NP = flat_vectors(item.model, notes)
    return [f"{item.name}_{name}" for name in names], x_NP


def _dump(item: TextModality) -> dict[str, Any]:
    vocabulary = item.vocabulary and item.vocabulary.to_dict()
    return {**asdict(replace(item, vocabulary=None)), "vocabulary": vocabulary}


def _load(data: Mapping[str, Any]) -> TextModality:
    vocabulary, model = data["vocabulary"], data["model"]
    return TextModality(
        **{**data, "mean": tuple(data["mean"]), "std": tuple(data["std"])}
        | {
            "vocabulary": vocabulary and Vocabulary.from_dict(vocabulary),
            "model": model and LanguageModel(**model),
        }
    )
