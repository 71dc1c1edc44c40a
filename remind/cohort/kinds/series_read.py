"""Reading a series from its long table: every row is checked, and every variable gets its type.

A variable is numeric if its values are numbers (true and false alone are 1 and 0), categorical if
at least half of them are words, and not just signs of no value. Text among the values of a numeric
variable is invalid. A row without a value is no event; nor is one outside of the hours that are
asked for, whatever it holds.
"""

# N patients, V events, U variables

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from remind.cohort.columns import (
    ELSE_NUMBERS,
    MOSTLY_NUMBERS,
    clean_text,
    is_text,
    missing_values,
    parse_numbers,
    refuse_unusable,
)
from remind.cohort.kinds.events import EventRows, coded_text, read_inside, sorted_events
from remind.cohort.kinds.reading import Reading, read_long
from remind.cohort.kinds.series_events import SeriesEvents
from remind.cohort.lookalikes import is_missing_mark, lookalike
from remind.cohort.tables import MISSING_TEXT
from remind.errors import InputError

pc: Any = pyarrow.compute  # its functions are made at import time, unknown to type checkers


@dataclass(frozen=True, kw_only=True)
class SeriesColumns:
    """Where events are.

    Args:
        table: path or glob of the long table.
        id, time, variable, value: its columns.
        since, until: hours that bound the events to be read; None does not.
    """

    table: str
    id: str
    time: str
    variable: str
    value: str
    since: float | None
    until: float | None


def read_series(
    reading: Reading, columns: SeriesColumns, known: Mapping[str, bool]
) -> SeriesEvents | None:
    """Read the events of patients of the cohort.

    Args:
        reading: of the modality.
        columns: where they are.
        known: variable -> whether it was numeric in training.

    Returns:
        None if a table to predict has no such file beside it.

    Raises:
        InputError: the table cannot be read, or a value is invalid under the policy "error".
    """
    named = [columns.time, columns.variable, columns.value]
    long = read_long(reading, columns.table, columns.id, named, names=(columns.variable,))
    if long is None:
        return None
    rows = EventRows.of(reading, long)
    is_empty_V = _is_empty(rows, columns.value)
    num_empty_N = rows.per_patient(is_empty_V)
    rows, time_V, num_outside_N = read_inside(
        rows.keep(~is_empty_V), columns.time, columns.since, columns.until
    )
    time_V = time_V.astype(np.float32)
    variable_V, names = coded_text(rows.column(columns.variable))
    rows.refuse(
        variable_V < 0,
        lambda _: f'the variable "{columns.variable}" is missing: fill it in or leave the row out',
    )
    is_named_V = variable_V >= 0
    rows, time_V, variable_V = rows.keep(is_named_V), time_V[is_named_V], variable_V[is_named_V]
    values = _read_values(rows, columns.value, variable_V, names, known)
    is_good_V = ~values.is_bad_V
    used, variable_V = np.unique(variable_V[is_good_V], return_inverse=True)
    is_numeric_U = values.is_numeric_U[used]
    value_V, categories = _coded(
        values, rows.table.source, is_good_V, variable_V, is_numeric_U, names[used]
    )
    return SeriesEvents(
        variables=tuple(names[used].tolist()),
        categories=categories,
        events=sorted_events(
            rows.patient_V[is_good_V],
            len(reading.ids),
            ("variable", variable_V, len(used)),
            {"time": time_V[is_good_V], "value": value_V},
        ),
        num_empty_N=num_empty_N,
        num_outside_N=num_outside_N,
    )


def _is_empty(rows: EventRows, value: str) -> np.ndarray:
    column = rows.column(value)
    refuse_unusable(rows.table, value, column)
    if not is_text(column.type):
        return missing_values(column)
    text = clean_text(column)
    is_written = pc.is_in(text, pa.array(MISSING_TEXT, pa.large_string()))
    return pc.or_(is_written, pc.is_null(text)).to_numpy()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Values:
    """What the cells hold: numbers float64 (V,), what was written, whether it was refused (V,), and
    the types of variables.
    """

    number_V: np.ndarray
    written: pa.ChunkedArray
    is_bad_V: np.ndarray
    is_numeric_U: np.ndarray


def _read_values(
    rows: EventRows, name: str, variable_V: np.ndarray, names: np.ndarray, known: Mapping[str, bool]
) -> _Values:
    """Find out what the variables are, and refuse what their values must not be."""
    column = rows.column(name)
    if is_text(column.type):
        written = clean_text(column)
        number_V, is_text_V, is_word_V = _parse(written)
        is_mark_V = is_missing_mark(written).to_numpy()
    else:
        written = column
        number_V = pc.cast(column, pa.float64(), safe=False).to_numpy()
        is_text_V = is_word_V = is_mark_V = np.zeros(len(number_V), bool)
    total_U, text_U, word_U, mark_U = (
        np.bincount(variable_V[is_counted_V], minlength=len(names))
        for is_counted_V in (slice(None), is_text_V, is_word_V, is_mark_V)
    )
    is_known_U = np.array([known.get(variable, False) for variable in names], bool)
    is_new_U = np.array([variable not in known for variable in names], bool)
    takes_words_U = is_known_U | (is_new_U & (word_U == total_U))
    is_mostly_U = 2 * (text_U + word_U) < total_U
    is_else_U = (text_U + word_U == mark_U) & (mark_U < total_U)
    is_numeric_U = takes_words_U | (is_new_U & (is_mostly_U | is_else_U))
    is_text_V = is_text_V | (is_word_V & ~takes_words_U[variable_V])
    is_numeric_V = is_numeric_U[variable_V]

    def text_problem(v: int) -> str:
        variable = names[variable_V[v]]
        but = MOSTLY_NUMBERS if is_mostly_U[variable_V[v]] else ELSE_NUMBERS
        but = "it was numeric in training" if variable in known else but
        return (
            f'the variable "{variable}" holds "{written[v].as_py()}" in column "{name}", '
            f"but {but}: write a number, or leave the cell empty if it is missing"
        )

    def number_problem(v: int) -> str:
        return (
            f'the variable "{names[variable_V[v]]}" holds {written[v].as_py()} in column "{name}", '
            "which is not a finite 32-bit number: "
            "correct it, or leave the cell empty if it is missing"
        )

    rows.refuse(is_numeric_V & is_text_V, text_problem)
    with np.errstate(over="ignore"):
        is_huge_V = ~np.isfinite(number_V.astype(np.float32))
    rows.refuse(is_numeric_V & ~is_text_V & is_huge_V, number_problem)
    return _Values(
        number_V=number_V,
        written=written,
        is_bad_V=is_numeric_V & (is_text_V | is_huge_V),
        is_numeric_U=is_numeric_U,
    )


def _parse(text: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers (V,) of text, and whether it is no number (V,), and whether it is true or false."""
    lower = pc.utf8_lower(text)
    is_true_V, is_false_V = (pc.equal(lower, word).to_numpy() for word in ("true", "false"))
    is_word_V = is_true_V | is_false_V
    if is_word_V.any():
        text = pc.if_else(pa.array(is_word_V), pa.scalar(None, pa.large_string()), text)
    number_V, is_text_V = parse_numbers(text)
    return np.where(is_word_V, is_true_V, number_V), is_text_V, is_word_V


def _coded(
    values: _Values,
    source: str,
    is_good_V: np.ndarray,
    variable_V: np.ndarray,
    is_numeric_U: np.ndarray,
    names_U: np.ndarray,
) -> tuple[np.ndarray, tuple[tuple[str, ...] | None, ...]]:
    """Numbers, or places of categories, of the good values, float32, and the categories."""
    value_V = values.number_V[is_good_V]
    is_category_V = ~is_numeric_U[variable_V]
    places = np.flatnonzero(is_category_V)
    written = values.written.take(pa.array(np.flatnonzero(is_good_V)[places]))
    text_P, texts = coded_text(written)
    pairs, pair_P = np.unique(variable_V[places] * max(len(texts), 1) + text_P, return_inverse=True)
    owner_of_pair, text_of_pair = np.divmod(pairs, max(len(texts), 1))
    first_U = np.searchsorted(owner_of_pair, np.arange(len(names_U) + 1))
    value_V[places] = pair_P - first_U[owner_of_pair[pair_P]]
    categories = tuple(
        None
        if is_numeric_U[u]
        else tuple(texts[text_of_pair[first_U[u] : first_U[u + 1]]].tolist())
        for u in range(len(names_U))
    )
    for name, words in zip(names_U, categories, strict=True):
        if reason := lookalike(pa.chunked_array([words or ()], pa.large_string())):
            raise InputError(f'{source}: the variable "{name}" holds {reason}')
    return value_V.astype(np.float32), categories
