"""Paths of files: in a column of the cohort's table, or in a long table of their own."""

# N patients, V paths

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute

from remind.cohort.columns import missing_values
from remind.cohort.kinds.events import EventRows, read_inside
from remind.cohort.kinds.reading import Reading, read_long
from remind.cohort.tables import Table
from remind.errors import InputError

SEPARATOR = ";"

pc: Any = pyarrow.compute  # its functions are made at import time, unknown to type checkers


@dataclass(frozen=True, kw_only=True, eq=False)
class Paths:
    """The paths of all patients.

    Args:
        owner_V: row of the patient in the cohort, int64.
        path_V: text.
        row_V: row of the table that names the path, int64.
        table: that names them.
        column: of the table.
    """

    owner_V: np.ndarray
    path_V: np.ndarray
    row_V: np.ndarray
    table: Table
    column: str

    def where(self, v: int) -> str:
        """Name a path: ``'patients.csv, row 12: column "ct" names a.dcm'``."""
        row = int(self.row_V[v])
        return f'{self.table.where(row)}: column "{self.column}" names {self.path_V[v]}'

    def distinct(self) -> tuple[list[Path], np.ndarray]:
        """Each path once, relative to the folder of the table, and which of them each V is."""
        which_V, names = pd.factorize(self.path_V)
        return [self.table.folder / name for name in names], which_V


def paths_of_column(reading: Reading, column: str) -> Paths:
    """The paths in a column of the cohort's table; a null or empty cell has none.

    Raises:
        InputError: its cells are neither text nor lists of text.
    """
    table = reading.table
    values = table.data[column].combine_chunks()
    kind = values.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        owner_V = pc.list_parent_indices(values).to_numpy()
        texts = _as_text(table, reading, column, pc.list_flatten(values))
    else:
        pieces = pc.split_pattern(_as_text(table, reading, column, values), SEPARATOR)
        owner_V = pc.list_parent_indices(pieces).to_numpy()
        texts = pc.list_flatten(pieces)
    owner_V = owner_V.astype(np.int64)
    return _paths(table, column, owner_V, owner_V, texts)


def paths_of_table(
    reading: Reading,
    file: str,
    id_column: str,
    column: str,
    *,
    time: str | None = None,
    since: float | None = None,
    until: float | None = None,
) -> Paths | None:
    """The paths in a long table; None if a table to predict has no such table beside it.

    Args:
        reading: of the modality.
        file: a path or glob of the table.
        id_column, column: of the patient and of the path of each row.
        time: column of hours, if any; a row without a path needs none.
        since, until: hours; what is earlier or later is left out.

    Raises:
        InputError: the table cannot be read, its paths are not text, or a time is missing or no
            number under "error".
    """
    long = read_long(reading, file, id_column, [column, *([] if time is None else [time])])
    if long is None:
        return None
    rows = EventRows.of(reading, long)
    if time is not None:
        rows = rows.keep(~missing_values(rows.column(column)))
        rows, _, _ = read_inside(rows, time, since, until)
    texts = _as_text(long.table, reading, column, rows.column(column).combine_chunks())
    return _paths(long.table, column, rows.patient_V, rows.row_V, texts)


def _paths(
    table: Table, column: str, owner_V: np.ndarray, row_V: np.ndarray, texts: pa.Array
) -> Paths:
    texts = pc.fill_null(pc.utf8_trim_whitespace(texts), "")
    path_V = texts.to_numpy(zero_copy_only=False).astype(object)
    keep_V = path_V != ""
    return Paths(
        owner_V=owner_V[keep_V],
        path_V=path_V[keep_V],
        row_V=row_V[keep_V],
        table=table,
        column=column,
    )


def _as_text(table: Table, reading: Reading, column: str, values: pa.Array) -> pa.Array:
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    is_text = (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )
    if not is_text and values.null_count < len(values):
        raise InputError(
            f'{table.source}: column "{column}" of [modalities.{reading.modality}] holds '
            f"values of type {kind}, expected paths of files"
        )
    return pc.cast(values, pa.large_string())
