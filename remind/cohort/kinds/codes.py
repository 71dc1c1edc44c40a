"""Codes: a bag of diagnoses, procedures or drugs, with or without order and time.

A code is the sum of its own embedding and of those of its ancestors, as far as enough training
patients have them: a rare code is nearly its parent, and one that training never saw is its nearest
known ancestors. A code without any of these is the unknown code, as rare ones of training are.
"""

# N patients, V codes of a batch, W parts of codes, F flat columns

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from remind.cohort.kinds.base import FlatColumns, Kind, ModalitySpec
from remind.cohort.kinds.codes_events import CodeEvents
from remind.cohort.kinds.codes_read import CodeColumns, read_codes
from remind.cohort.kinds.codes_vocabulary import CodesModality, CodesSchema, coverage
from remind.cohort.kinds.events import check_hours, hide, owners
from remind.cohort.kinds.hierarchy import System
from remind.cohort.kinds.ragged import Ragged
from remind.cohort.kinds.reading import Reading

MAX_FLAT_CODES = 256
TABLE_ONLY = ("id", "time", "version", "since", "until")


class CodesSpec(ModalitySpec):
    """A long table, or a column of lists in the cohort's table: one of the two.

    `table`: a path or glob beside the cohort's table; a row per code.
    `id`: its column of patients; by default named like the cohort's.
    `code`, `time`, `version`: its other columns; times are hours, versions of ICD 9 or 10.
    `since`, `until`: hours; what is earlier or later is never used.
    `column`: of the cohort's table; Parquet lists, or text with semicolons between codes.
    `system`: whose prefixes make ancestors; "icd" takes the version from its column.
    `min_count`: training patients who must have a code, or what is below it, to embed it.
    `ordered`: the place of a code in its list, or among its patient's rows, counts as its time.
    `num_tokens`: per patient.
    """

    table: str | None = Field(default=None, min_length=1)
    column: str | None = None
    id: str | None = None
    code: str = "code"
    time: str | None = None
    version: str | None = None
    since: float | None = None
    until: float | None = None
    system: System = "none"
    min_count: int = Field(default=5, ge=1)
    ordered: bool = False
    num_tokens: int = Field(default=2, ge=1, le=16)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.table is None) == (self.column is None):
            raise ValueError("needs either table or column: give one of them")
        if self.column is not None:
            for key in TABLE_ONLY:
                if getattr(self, key) is not None:
                    raise ValueError(f"has {key}, which needs a table: remove it")
        if (self.system == "icd") != (self.version is not None):
            raise ValueError('needs version with system = "icd", and only there')
        check_hours(self.time, self.since, self.until)
        if self.ordered and self.time is not None:
            raise ValueError("gives both ordered and time: keep one of them")
        return self

    @property
    def feature_columns(self) -> tuple[str, ...]:
        """The table's column that holds this modality, if it is not in a table of its own."""
        return () if self.column is None else (self.column,)


@dataclass(frozen=True, kw_only=True, eq=False)
class CodesValues:
    """Codes of N patients, and the parts of each distinct code.

    Args:
        events: `code` (int32, which distinct code) and, if timed, `place` (float32, 2).
        parts: of each distinct code, `row` (int32) of the table of codes.
    """

    events: Ragged
    parts: Ragged


@dataclass(frozen=True, kw_only=True, eq=False)
class CodesBatch:
    """Codes of one modality; tensors once in a Batch.

    Args:
        owner_V: position of the patient in the batch, int64, ascending.
        num_V: parts of each code, int64, >= 1.
        row_W: int32, rows of the table of codes, code by code.
        place_V2: place of the time and of the time until the last code, float32; (V, 0) if untimed.
    """

    owner_V: Any
    num_V: Any
    row_W: Any
    place_V2: Any


class Codes(Kind):
    """Raw values are `CodeEvents`; encoded ones and batches have an entry per modality."""

    name = "codes"
    spec = CodesSpec

    def read(self, reading: Reading, spec: CodesSpec, schema: CodesSchema | None) -> CodeEvents:
        columns = CodeColumns(
            table=spec.table,
            column=spec.column,
            id=spec.id or reading.id_column,
            code=spec.code,
            time=spec.time,
            version=spec.version,
            since=spec.since,
            until=spec.until,
            system=spec.system,
            min_count=spec.min_count,
            is_ordered=spec.ordered,
        )
        return read_codes(reading, columns) or _none(spec, len(reading.ids))

    def absent(
        self, modality: str, spec: CodesSpec, num_rows: int, schema: CodesSchema
    ) -> CodeEvents:
        return _none(spec, num_rows)

    def present(self, raw: CodeEvents) -> np.ndarray:
        return raw.events.counts_N > 0

    def select(self, raw: CodeEvents, rows: np.ndarray) -> CodeEvents:
        return raw.select(rows)

    def digest(self, raw: CodeEvents) -> Iterator[bytes]:
        yield from raw.digest()

    def describe(self, raw: CodeEvents) -> dict[str, Any]:
        return {**raw.describe(), "vocabulary": coverage(raw, raw.min_count)}

    def fit(
        self,
        raws: Mapping[str, CodeEvents],
        specs: Mapping[str, CodesSpec],
        indices: Mapping[str, int],
        rows: np.ndarray,
        max_bins: int,
    ) -> CodesSchema:
        items = (
            CodesModality.fit(
                raw.select(rows),
                name=name,
                index=indices[name],
                num_tokens=specs[name].num_tokens,
                min_count=specs[name].min_count,
                max_bins=max_bins,
            )
            for name, raw in raws.items()
        )
        return CodesSchema(modalities=tuple(items))

    def encode(
        self, schema: CodesSchema, raws: Mapping[str, CodeEvents], present_NM: np.ndarray
    ) -> dict[str, CodesValues]:
        return {
            item.name: _encode(item, raws[item.name], present_NM[:, item.index])
            for item in schema.modalities
        }

    def batch(self, encoded: dict[str, CodesValues], rows: np.ndarray) -> dict[str, CodesBatch]:
        return {name: _batch(values, rows) for name, values in encoded.items()}

    def flat(self, schema: CodesSchema, raws: Mapping[str, CodeEvents]) -> FlatColumns:
        tables = [_counts(item, raws[item.name]) for item in schema.modalities]
        return FlatColumns.of([item.index for item in schema.modalities], tables)

    def overview(
        self, schema: CodesSchema, raws: Mapping[str, CodeEvents], rows: np.ndarray
    ) -> FlatColumns:
        """The counts of the most frequent codes."""
        return self.flat(schema, self.some(raws, rows))

    def dump(self, schema: CodesSchema) -> dict[str, Any]:
        return {"modalities": [item.dump() for item in schema.modalities]}

    def load(self, data: Mapping[str, Any]) -> CodesSchema:
        return CodesSchema(
            modalities=tuple(CodesModality.load(item) for item in data["modalities"])
        )


def _none(spec: CodesSpec, num_patients: int) -> CodeEvents:
    is_timed = spec.ordered or spec.time is not None
    return CodeEvents.none(num_patients, spec.system, spec.min_count, is_timed=is_timed)


def _encode(item: CodesModality, raw: CodeEvents, present_N: np.ndarray) -> CodesValues:
    columns = {"code": raw.events.columns["code"]}
    if item.time is not None:
        columns["place"] = item.time.places(raw.events)
    events = Ragged(start_N1=raw.events.start_N1, columns=columns)
    return CodesValues(events=hide(events, present_N), parts=item.parts(raw))


def _batch(values: CodesValues, rows: np.ndarray) -> CodesBatch:
    owner_V, place_V = values.events.items(rows)
    columns = {name: column[place_V] for name, column in values.events.columns.items()}
    code_V = columns["code"]
    _, place_W = values.parts.items(code_V)
    return CodesBatch(
        owner_V=owner_V,
        num_V=values.parts.counts_N[code_V],
        row_W=values.parts.columns["row"][place_W],
        place_V2=columns.get("place", np.empty((len(code_V), 0), np.float32)),
    )


def _counts(item: CodesModality, raw: CodeEvents) -> tuple[list[str], np.ndarray]:
    """Names, and how often each patient has the most frequent of the vocabulary, float32 (N, F).

    The last two columns count codes that are unknown, and all codes.
    """
    num_known = min(len(item.vocabulary), MAX_FLAT_CODES)
    parts, code_V, owner_V = item.parts(raw), raw.events.columns["code"], owners(raw.events)
    row_W = parts.columns["row"]
    is_unknown_W = row_W == len(item.vocabulary)
    column_W = np.where(row_W < num_known, row_W, np.where(is_unknown_W, num_known, -1))
    x_NF = np.zeros((len(raw.events), num_known + 2), np.float32)
    which_V, place_W = parts.items(code_V)
    column, owner = column_W[place_W], owner_V[which_V]
    is_counted = column >= 0
    np.add.at(x_NF, (owner[is_counted], column[is_counted]), 1.0)
    x_NF[:, -1] = raw.events.counts_N
    names = (*item.vocabulary[:MAX_FLAT_CODES], "unknown codes", "all codes")
    return [f"{item.name}.{name}" for name in names], x_NF
