"""Reading codes from a long table, or from lists in a column of the cohort's table."""

# N patients, V codes

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from remind.cohort.columns import clean_text, is_text, missing_values
from remind.cohort.kinds.codes_events import CodeEvents
from remind.cohort.kinds.events import (
    EventRows,
    coded_text,
    read_inside,
    sorted_events,
)
from remind.cohort.kinds.hierarchy import VERSIONS, System, normal_form
from remind.cohort.kinds.reading import Reading, read_long
from remind.cohort.tables import Table
from remind.errors import InputError

pc: Any = pyarrow.compute  # its functions are made at import time, unknown to type checkers

SEPARATOR = ";"


@dataclass(frozen=True, kw_only=True)
class CodeColumns:
    """Where codes are: in a long table, or in a column of the cohort's table.

    Args:
        table: path or glob of the long table, if any.
        column: of the cohort's table, if any.
        id, code, time, version: columns of the long table; time and version may be None.
        since, until: hours that bound the codes to be read; None does not.
        system: of the codes.
        min_count: patients who must have a code for it to have an embedding of its own.
        is_ordered: whether the place of a code among those of its patient is its time.
    """

    table: str | None
    column: str | None
    id: str
    code: str
    time: str | None
    version: str | None
    since: float | None
    until: float | None
    system: System
    min_count: int
    is_ordered: bool


def read_codes(reading: Reading, columns: CodeColumns) -> CodeEvents | None:
    """Read the codes of patients of the cohort.

    Returns:
        None if a table to predict has no such file beside it.

    Raises:
        InputError: the table cannot be read, or a code is invalid under the policy "error".
    """
    if columns.column is not None:
        rows, index_V, names = _from_lists(reading, columns.column, columns.system)
        num_outside_N = np.zeros(len(reading.ids), np.int32)
        time_V = None
    else:
        found = _from_table(reading, columns)
        if found is None:
            return None
        rows, index_V, names, time_V, num_outside_N = found
    is_good_V = index_V >= 0
    patient_V = rows.patient_V[is_good_V]
    if time_V is not None:
        time_V = time_V[is_good_V]
    elif columns.is_ordered:
        time_V = _places(patient_V)
    codes, code_of_name = np.unique(names.astype(str), return_inverse=True)
    used, code_V = np.unique(code_of_name[index_V[is_good_V]], return_inverse=True)
    times = {} if time_V is None else {"time": time_V.astype(np.float32)}
    return CodeEvents(
        codes=tuple(codes[used].tolist()),
        system=columns.system,
        min_count=columns.min_count,
        events=sorted_events(patient_V, len(reading.ids), ("code", code_V, len(used)), times),
        num_outside_N=num_outside_N,
    )


def _from_table(
    reading: Reading, columns: CodeColumns
) -> tuple[EventRows, np.ndarray, np.ndarray, np.ndarray | None, np.ndarray] | None:
    """Rows, place of their code among names in normal form, these, times, and how many are out."""
    assert columns.table is not None
    named = [columns.code, *(c for c in (columns.time, columns.version) if c is not None)]
    names_of = (columns.code,) if columns.system == "none" else ()  # where NA may be sodium
    long = read_long(reading, columns.table, columns.id, named, names_of)
    if long is None:
        return None
    rows = EventRows.of(reading, long)
    time_V, num_outside_N = None, np.zeros(len(reading.ids), np.int32)
    if columns.time is not None:
        rows, time_V, num_outside_N = read_inside(rows, columns.time, columns.since, columns.until)
    index_V, names = _coded(rows.table, columns.code, rows.column(columns.code), columns.system)
    rows.refuse(
        index_V < 0,
        lambda _: f'the code "{columns.code}" is missing: fill it in or leave the row out',
    )
    if columns.version is not None:
        index_V, names = _with_version(rows, columns.version, index_V, names)
    return rows, index_V, names, time_V, num_outside_N


def _from_lists(
    reading: Reading, name: str, system: System
) -> tuple[EventRows, np.ndarray, np.ndarray]:
    """Rows of the codes in lists, place of each among names in normal form, and these.

    An empty one, such as behind the last separator, is no code.
    """
    column = reading.table.data[name].combine_chunks()
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        cells = column
    elif column.null_count == len(column):
        cells = pa.nulls(len(column), pa.list_(pa.large_string()))
    elif is_text(kind):
        text = pa.chunked_array([column])
        cells = clean_text(text).combine_chunks()
        cells = pc.split_pattern(cells, SEPARATOR)
    else:
        raise InputError(
            f'{reading.table.source}: column "{name}" holds {kind}, expected lists of codes, '
            f'or text with a "{SEPARATOR}" between codes'
        )
    codes = pa.chunked_array([pc.list_flatten(cells)])
    is_there_V = ~missing_values(codes)
    patient_V = pc.list_parent_indices(cells).to_numpy().astype(np.int64)[is_there_V]
    codes = codes.filter(pa.array(is_there_V))
    rows = EventRows(reading=reading, table=reading.table, row_V=patient_V, patient_V=patient_V)
    index_V, names = _coded(reading.table, name, codes, system)
    rows.refuse(
        index_V < 0,
        lambda v: (
            f'the list of codes in column "{name}" holds "{codes[v].as_py()}", which is no code: '
            "remove it"
        ),
    )
    return rows, index_V, names


def _coded(
    table: Table, name: str, column: pa.ChunkedArray, system: System
) -> tuple[np.ndarray, np.ndarray]:
    """Place (V,) among codes in normal form, -1 where there is none, and these codes."""
    is_number = not (is_text(column.type) or pa.types.is_null(column.type))
    if is_number and system != "none":
        raise InputError(
            f'{table.source}: column "{name}" holds numbers, but codes of the system "{system}" '
            "are text (250.00 is not 250, nor 0041 the number 41): write them as text"
        )
    index_V, names = coded_text(column)
    normal = np.array([normal_form(text, system) for text in names], dtype=object)
    is_code = np.append(normal != "", False)
    return np.where(is_code[index_V], index_V, -1), normal


def _with_version(
    rows: EventRows, version: str, index_V: np.ndarray, names: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The same with the version of ICD before every code."""
    version_V, versions = coded_text(rows.column(version))
    plain = [text.upper().removeprefix("ICD").strip("- ") for text in versions]
    is_known = np.array([*(text in VERSIONS for text in plain), False])

    def problem(v: int) -> str:
        text = versions[version_V[v]] if version_V[v] >= 0 else ""
        return f'the version of ICD in column "{version}" is "{text}", expected 9 or 10'

    rows.refuse(~is_known[version_V] & (index_V >= 0), problem)
    pair_V = version_V * len(names) + index_V
    is_good_V = is_known[version_V] & (index_V >= 0)
    pairs, place_V = np.unique(pair_V[is_good_V], return_inverse=True)
    named = [f"{plain[p // len(names)]}:{names[p % len(names)]}" for p in pairs.tolist()]
    tagged_V = np.full(len(index_V), -1)
    tagged_V[is_good_V] = place_V
    return tagged_V, np.array(named, dtype=object)


def _places(patient_V: np.ndarray) -> np.ndarray:
    """Place of each row among those of its patient, from 0."""
    counts_N = np.bincount(patient_V)
    order_V = np.argsort(patient_V, kind="stable")
    place_V = np.empty(len(patient_V))
    place_V[order_V] = np.arange(len(patient_V)) - np.repeat(
        np.cumsum(counts_N) - counts_N, counts_N
    )
    return place_V
