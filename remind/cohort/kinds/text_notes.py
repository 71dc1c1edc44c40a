"""Notes of patients: from a column of the cohort's table, or from a long table of their own."""

# N patients, V notes

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute
from pydantic import Field, model_validator

from remind.cohort.columns import clean_text, is_text
from remind.cohort.kinds.base import ModalitySpec
from remind.cohort.kinds.events import EventRows, read_inside
from remind.cohort.kinds.ragged import Ragged
from remind.cohort.kinds.reading import Reading, read_long
from remind.cohort.tables import Table
from remind.errors import InputError

pc: Any = pyarrow.compute  # its functions are made at import time, unknown to type checkers


class TextSpec(ModalitySpec):
    """Where the notes are, one of `column` and `table`, and what makes numbers of them.

    `column`: of the cohort's table: a note per patient, or a list of them (Parquet).
    `table`: of its own, with a row per note. `id`: its column of patients, named as the cohort's
    id if left out. `text`: its column of notes. `time`: its column of times, in hours; the notes of
    a patient are then in their order. `until`: later notes are not read.
    `encoder`: "ngrams", hashed parts of words; or "transformer".
    `model`: of the transformer: a folder, relative to the cohort's, or an installed package.
    `train`: whether the transformer is trained too, or gives embeddings that are made once.
    `max_chunks`: most parts of notes that are used of a patient; the last ones are.
    `overlap`: tokens that two neighbouring parts of a note share, for a transformer.
    `num_tokens`: of a patient in the model.
    """

    column: str | None = None
    table: str | None = None
    id: str | None = None
    text: str = "text"
    time: str | None = None
    until: float | None = Field(default=None, allow_inf_nan=False)
    encoder: Literal["ngrams", "transformer"] = "ngrams"
    model: str | None = Field(default=None, min_length=1)
    train: bool = False
    max_chunks: int = Field(default=32, ge=1)
    overlap: int = Field(default=0, ge=0)
    num_tokens: int = Field(default=2, ge=1, le=16)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.column is None) == (self.table is None):
            raise ValueError("needs either a column of notes or a table of them: give one of both")
        if self.column is not None:
            self._only_with("table", "a table", ("id", "text", "time", "until"))
        if self.until is not None and self.time is None:
            raise ValueError("gives until without time: name the column of times")
        if self.encoder == "transformer" and self.model is None:
            raise ValueError(
                "needs the key model for a transformer: a local folder, or an installed package "
                "(weights are never downloaded)"
            )
        if self.encoder == "ngrams":
            self._only_with("encoder", 'encoder = "transformer"', ("model", "train", "overlap"))
        return self

    def _only_with(self, key: str, what: str, options: tuple[str, ...]) -> None:
        for option in options:
            if getattr(self, option) != type(self).model_fields[option].default:
                raise ValueError(f"gives {option}, which has a meaning with {what} only")

    @property
    def feature_columns(self) -> tuple[str, ...]:
        """The column of the cohort's table that holds the notes, if one does."""
        return () if self.column is None else (self.column,)


@dataclass(frozen=True, kw_only=True, eq=False)
class Notes:
    """The notes of N patients, in the order of their times where they have some.

    Args:
        items: column `text`, str objects, none of them blank.
        spec: of the modality.
        folder: of the table, where the relative path of a model starts.
    """

    items: Ragged
    spec: TextSpec
    folder: Path

    def __len__(self) -> int:
        return len(self.items)

    @property
    def text_V(self) -> np.ndarray:
        """The notes."""
        return self.items.columns["text"]

    def select(self, rows: np.ndarray) -> "Notes":
        """The notes of some patients, in the order given."""
        return replace(self, items=self.items.select(rows))

    def only(self, keep_N: np.ndarray) -> "Notes":
        """All patients, but the notes of some of them only."""
        owner_V = np.repeat(np.arange(len(self)), self.items.counts_N)
        keep_V = keep_N[owner_V]
        items = Ragged.of(owner_V[keep_V], len(self), {"text": self.text_V[keep_V]})
        return replace(self, items=items)


def no_notes(spec: TextSpec, num_patients: int) -> Notes:
    """Patients without any note."""
    items = Ragged.of(np.zeros(0, np.int64), num_patients, {"text": np.zeros(0, object)})
    return Notes(items=items, spec=spec, folder=Path())


def read_notes(reading: Reading, spec: TextSpec) -> Notes | None:
    """The notes of a modality; None if a table to predict has no such table beside it.

    A blank cell, row or entry of a list is no note, whatever its time.

    Raises:
        InputError: the notes are not text, or a time is missing or no number under "error".
    """
    found = _of_column(reading, spec) if spec.column is not None else _of_table(reading, spec)
    if found is None:
        return None
    owner_V, text_V = found
    items = Ragged.of(owner_V, len(reading.ids), {"text": text_V})
    return Notes(items=items, spec=spec, folder=reading.table.folder)


def is_last(owner_V: np.ndarray, num: int) -> np.ndarray:
    """Whether each item is one of the last `num` of its owner; owners ascend."""
    after_V = np.searchsorted(owner_V, owner_V, side="right")
    return after_V - np.arange(len(owner_V)) <= num


def starts(counts: np.ndarray) -> np.ndarray:
    """Where the items of each begin, and at last their number, int64."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


Found = tuple[np.ndarray, np.ndarray]
"""Owner and text of each note."""


def _of_column(reading: Reading, spec: TextSpec) -> Found:
    assert spec.column is not None
    column = reading.table.data[spec.column]
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        column = column.combine_chunks()
        owner_V = pc.list_parent_indices(column).to_numpy().astype(np.int64)
        column = pc.list_flatten(column)
    else:
        owner_V = np.arange(len(column))
    text_V, is_blank_V = _texts(reading.table, spec.column, column)
    return owner_V[~is_blank_V], text_V[~is_blank_V]


def _of_table(reading: Reading, spec: TextSpec) -> Found | None:
    assert spec.table is not None
    columns = [spec.text] if spec.time is None else [spec.text, spec.time]
    long = read_long(reading, spec.table, spec.id or reading.id_column, columns)
    if long is None:
        return None
    rows = EventRows.of(reading, long)
    _, is_blank_V = _texts(rows.table, spec.text, rows.column(spec.text))
    rows, order_V = rows.keep(~is_blank_V), slice(None)
    if spec.time is not None:
        rows, time_V, _ = read_inside(rows, spec.time, None, spec.until)
        order_V = np.argsort(time_V, kind="stable")
    text_V, _ = _texts(rows.table, spec.text, rows.column(spec.text))
    return rows.patient_V[order_V], text_V[order_V]


def _texts(
    table: Table, name: str, values: pa.ChunkedArray | pa.Array
) -> tuple[np.ndarray, np.ndarray]:
    """The text of each cell as it is, and whether nothing but blanks is in it."""
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if not is_text(kind) and values.null_count < len(values):
        raise InputError(
            f'{table.source}: column "{name}" holds values of type {kind}, expected notes as text'
        )
    text = pc.cast(values, pa.large_string())
    is_blank = pc.is_null(clean_text(text))
    return (
        text.to_numpy(zero_copy_only=False).astype(object),
        is_blank.to_numpy(zero_copy_only=False).astype(bool),
    )
