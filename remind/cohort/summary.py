"""Summaries: plain columns about modalities that are no table, beside their own encoders.

A few thousand patients do not teach a network of pixels, waves or events what a mean, a slope or a
count of each says at once. So the columns that a method of flat tables would get of these
modalities (`Kind.overview`) are encoded as a table, and every observed modality has one more token.
The columns are numbers and codes of categories; those that are the same in all training patients
are left out.
"""

# N patients, M modalities, F columns, C columns that are kept

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from remind.cohort.arrays import chunks, new_array, release
from remind.cohort.kinds import KINDS, FlatColumns
from remind.cohort.kinds.knots import interpolate, knots_of
from remind.cohort.kinds.tabular import TabularColumn, TabularSchema, TabularValues

MOST_ROWS = 100_000  # training patients whose columns give the knots
CHUNK = 1 << 14  # patients whose columns are in memory at once


def fit_summary(
    schemas: Mapping[str, Any],
    raws: Mapping[str, Mapping[str, Any]],
    rows: np.ndarray,
    max_bins: int,
) -> TabularSchema | None:
    """The columns and their knots, from some (training) rows; None if no modality has any.

    Args:
        schemas: kind name -> schema.
        raws: kind name -> modality -> raw values.
        rows: of training patients; of very many, evenly spaced ones are looked at.
        max_bins: most intervals between knots of a number.
    """
    rows = rows[:: -(-len(rows) // MOST_ROWS)]
    parts = list(_parts(schemas, raws, rows))
    columns: list[TabularColumn] = []
    first_row = 0
    for part in parts:
        for f, name in enumerate(part.names):
            values = part.x_NF[:, f]
            values = values[~np.isnan(values)]
            cardinality = part.cardinalities.get(f)
            knots = knots_of(values.astype(np.float64), max_bins) if cardinality is None else ()
            if (len(knots) if cardinality is None else len(np.unique(values))) < 2:
                continue
            column = TabularColumn(
                name=name,
                modality=int(part.modality_F[f]),
                kind="numeric" if cardinality is None else "categorical",
                first_row=first_row,
                knots=tuple(map(float, knots)),
                categories=tuple(map(str, range(cardinality - 1))) if cardinality else (),
            )
            columns.append(column)
            first_row += column.num_rows
    return TabularSchema(columns=tuple(columns)) if columns else None


def encode_summary(
    schema: TabularSchema,
    schemas: Mapping[str, Any],
    raws: Mapping[str, Mapping[str, Any]],
    present_NM: np.ndarray,
) -> TabularValues:
    """Rows and fractions (N, C) of the columns; a modality that is not present has missing ones."""
    num_patients, num_columns = len(present_NM), len(schema.columns)
    row_NC = new_array((num_patients, num_columns), np.int32)
    frac_NC = new_array((num_patients, num_columns), np.float32)
    for chunk in chunks(num_patients, CHUNK):
        x_N = {
            name: part.x_NF[:, f]
            for part in _parts(schemas, raws, np.arange(chunk.start, chunk.stop))
            for f, name in enumerate(part.names)
        }
        for c, column in enumerate(schema.columns):
            is_seen_N = present_NM[chunk, column.modality]
            values_N = np.where(is_seen_N, x_N[column.name], np.nan)
            row_NC[chunk, c], frac_NC[chunk, c] = _encode(column, values_N)
        release()
    return TabularValues(row_NC=row_NC, frac_NC=frac_NC)


def _parts(
    schemas: Mapping[str, Any], raws: Mapping[str, Mapping[str, Any]], rows: np.ndarray
) -> Iterator[FlatColumns]:
    """The columns of some rows, kind by kind."""
    for kind, schema in schemas.items():
        if kind in KINDS:
            some = {name: KINDS[kind].select(raw, rows) for name, raw in raws[kind].items()}
            if columns := KINDS[kind].overview(schema, some):
                yield columns


def _encode(column: TabularColumn, values_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row (N,) and fraction (N,)."""
    row_N, frac_N = np.full(len(values_N), column.missing_row), np.zeros(len(values_N))
    seen_N = ~np.isnan(values_N)
    if column.kind == "categorical":
        code_N = np.minimum(values_N[seen_N].astype(np.int64), len(column.categories))
        row_N[seen_N] = column.first_row + code_N
    else:
        left, frac_N[seen_N] = interpolate(values_N[seen_N], np.array(column.knots))
        row_N[seen_N] = column.first_row + left
    return row_N, frac_N
