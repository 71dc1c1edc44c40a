"""Summaries: plain columns about modalities that are no table, beside their own encoders.

A few thousand patients do not teach a network of pixels, waves or events what a mean, a slope or a
count of each says at once. So the columns that a method of flat tables would get of these
modalities (`Kind.overview`) are encoded as a table is, and every observed modality has one more
token. Columns that are the same in all training patients are left out. Most counts are 0 and most
tests are not done: of each column only what is not its usual value is kept.
"""

# N patients, M modalities, F columns, C columns that are kept, V cells, B patients of a batch

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from remind.cohort.arrays import chunks, keep, release
from remind.cohort.kinds import KINDS, FlatColumns
from remind.cohort.kinds.knots import knots_of
from remind.cohort.kinds.ragged import Ragged
from remind.cohort.kinds.tabular import CellBatch, TabularColumn, TabularSchema, encode_numbers

SUMMARY = "summary"
"""Name of the summaries among the schemas and the encoded values of an encoding."""

MOST_ROWS = 100_000  # training patients whose columns give the knots
CHUNK = 1 << 14  # patients whose columns are in memory at once
USUAL_SHARE = 0.5  # of the patients that are observed in a modality, from which on a value is usual


@dataclass(frozen=True, kw_only=True)
class SummarySchema(TabularSchema):
    """All columns, modality by modality.

    Args:
        usual: of each column the row of its usual value, -1 if it has none.
    """

    usual: tuple[int, ...]


class Summary:
    """What an encoding asks of the kind whose schema and encoded values it holds."""

    def batch(self, encoded: Ragged, rows: np.ndarray) -> CellBatch:
        """The cells of some rows that are not as usual."""
        return CellBatch.of(encoded, rows)

    def dump(self, schema: SummarySchema) -> dict[str, Any]:
        """The schema as JSON."""
        return {**KINDS["tabular"].dump(schema), "usual": list(schema.usual)}

    def load(self, data: Mapping[str, Any]) -> SummarySchema:
        """The schema back from JSON."""
        columns = KINDS["tabular"].load(data).columns
        return SummarySchema(columns=columns, usual=tuple(data["usual"]))


CODERS: dict[str, Any] = {**KINDS, SUMMARY: Summary()}
"""Whose schemas and encoded values an encoding holds, by the name that they have there."""


def fit_summary(
    schemas: Mapping[str, Any],
    raws: Mapping[str, Mapping[str, Any]],
    present_NM: np.ndarray,
    rows: np.ndarray,
    max_bins: int,
) -> SummarySchema | None:
    """The columns and their knots, from some (training) rows; None if no modality has any.

    Args:
        schemas: kind name -> schema.
        raws: kind name -> modality -> raw values.
        present_NM: of all rows; a column is that of the patients who are observed in its modality.
        rows: of training patients; of very many, evenly spaced ones are looked at.
        max_bins: most intervals between knots of a number.
    """
    rows = rows[:: -(-len(rows) // MOST_ROWS)]
    seen_NM = present_NM[rows]
    parts = _parts(schemas, raws, rows)
    places = [(int(m), part, f) for part in parts for f, m in enumerate(part.modality_F)]
    columns: list[TabularColumn] = []
    usual: list[int] = []
    first_row = 0
    for m, part, f in sorted(places, key=lambda place: place[0]):
        values_N = part.x_NF[seen_NM[:, m], f].astype(np.float64)
        known_N = values_N[~np.isnan(values_N)]
        if len(np.unique(known_N)) < 2:
            continue
        num_codes = part.cardinalities.get(f)
        column = TabularColumn(
            name=part.names[f],
            modality=m,
            kind="numeric" if num_codes is None else "categorical",
            first_row=first_row,
            knots=tuple(knots_of(known_N, max_bins).tolist()) if num_codes is None else (),
            categories=tuple(map(str, range(num_codes - 1))) if num_codes else (),
        )
        columns.append(column)
        usual.append(_usual(*_encode(column, values_N)))
        first_row += column.num_rows
    return SummarySchema(columns=tuple(columns), usual=tuple(usual)) if columns else None


def encode_summary(
    schema: SummarySchema,
    schemas: Mapping[str, Any],
    raws: Mapping[str, Mapping[str, Any]],
    present_NM: np.ndarray,
) -> Ragged:
    """The cells of observed modalities that are not as usual: `row` (int32), `frac` (float32)."""
    usual_C = np.array(schema.usual)
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for chunk in chunks(len(present_NM), CHUNK):
        x_N = {
            (int(m), name): part.x_NF[:, f]
            for part in _parts(schemas, raws, np.arange(chunk.start, chunk.stop))
            for f, (m, name) in enumerate(zip(part.modality_F, part.names, strict=True))
        }
        cells = [_encode(column, x_N[column.modality, column.name]) for column in schema.columns]
        row_NC = np.stack([row_N for row_N, _ in cells], axis=1)
        frac_NC = np.stack([frac_N for _, frac_N in cells], axis=1)
        is_usual_NC = (row_NC == usual_C) & (frac_NC == 0)
        where = (present_NM[chunk][:, schema.column_modality_C] & ~is_usual_NC).nonzero()
        parts.append((where[0] + chunk.start, row_NC[where], frac_NC[where]))
        release()
    owner_V, row_V, frac_V = (np.concatenate(column) for column in zip(*parts, strict=True))
    columns = {"row": keep(row_V.astype(np.int32)), "frac": keep(frac_V.astype(np.float32))}
    counts_N = np.bincount(owner_V, minlength=len(present_NM))
    return Ragged(start_N1=np.concatenate([[0], np.cumsum(counts_N)]), columns=columns)


def _parts(
    schemas: Mapping[str, Any], raws: Mapping[str, Mapping[str, Any]], rows: np.ndarray
) -> Sequence[FlatColumns]:
    """The columns of some rows, kind by kind."""
    kinds = [(KINDS[kind], kind) for kind in schemas if kind in KINDS]
    parts = (kind.overview(schemas[name], raws[name], rows) for kind, name in kinds)
    return [part for part in parts if part is not None]


def _encode(column: TabularColumn, values_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row (N,) and fraction (N,) in [0, 1)."""
    if column.kind == "categorical":
        code_N = np.minimum(values_N, len(column.categories))  # NaN stays
        row_N = np.where(np.isnan(code_N), column.missing_row, column.first_row + code_N)
        return row_N.astype(np.int64), np.zeros(len(values_N))
    row_N, frac_N = encode_numbers(column, values_N.astype(np.float64))
    is_next_N = frac_N == 1.0
    return row_N + is_next_N, np.where(is_next_N, 0.0, frac_N)


def _usual(row_N: np.ndarray, frac_N: np.ndarray) -> int:
    """The row of the usual value, -1 if there is none."""
    rows, counts = np.unique(row_N[frac_N == 0], return_counts=True)
    is_usual = counts >= USUAL_SHARE * len(row_N)
    return int(rows[is_usual][0]) if is_usual.any() else -1
