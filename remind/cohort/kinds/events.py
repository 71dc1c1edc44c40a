"""Events: rows of a long table that happen at a time, checked row by row and sorted.

What the kinds `series` and `codes` share.
"""

# N patients, V events

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute

from remind.cohort.columns import (
    clean_text,
    is_text,
    parse_numbers,
    refuse_unusable,
    text_of_numbers,
)
from remind.cohort.kinds.ragged import Ragged
from remind.cohort.kinds.reading import LongTable, Reading
from remind.cohort.tables import Table

pc: Any = pyarrow.compute  # its functions are made at import time, unknown to type checkers

MOST_HOURS = 1e19
"""More hours than that, before or after, are a slip; their squares are still float32."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EventRows:
    """Rows of a table that are being checked.

    Args:
        reading: of the modality.
        table: that holds them.
        row_V: their rows in the table, int64.
        patient_V: rows of their patients in the cohort, int64.
    """

    reading: Reading
    table: Table
    row_V: np.ndarray
    patient_V: np.ndarray

    @classmethod
    def of(cls, reading: Reading, long: LongTable) -> Self:
        """The rows of patients of the cohort."""
        row_V = np.flatnonzero(long.patient_V >= 0)
        return cls(
            reading=reading,
            table=long.table,
            row_V=row_V,
            patient_V=long.patient_V[row_V],
        )

    def __len__(self) -> int:
        return len(self.row_V)

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of these rows."""
        column = self.table.data[name]
        return column if len(column) == len(self) else column.take(pa.array(self.row_V))

    def keep(self, is_kept_V: np.ndarray) -> Self:
        """Some of these rows."""
        if is_kept_V.all():
            return self
        return replace(self, row_V=self.row_V[is_kept_V], patient_V=self.patient_V[is_kept_V])

    def refuse(self, is_bad_V: np.ndarray, problem: Callable[[int], str]) -> None:
        """Refuse bad rows, which the caller leaves out; `problem` says what is wrong with one.

        Raises:
            InputError: the policy of the modality is "error", and a row is bad.
        """
        for v in np.flatnonzero(is_bad_V).tolist():
            self.reading.reject(
                f"{self.table.where(int(self.row_V[v]))}: {problem(v)}", self.patient_V[v]
            )

    def per_patient(self, is_counted_V: np.ndarray) -> np.ndarray:
        """How many of some rows each patient has, int32 (N,)."""
        num_patients = len(self.reading.ids)
        return np.bincount(self.patient_V[is_counted_V], minlength=num_patients).astype(np.int32)


def check_hours(time: str | None, since: float | None, until: float | None) -> None:
    """Raise a ValueError unless bounds have a column of times, and are in order."""
    if time is None and (since is not None or until is not None):
        raise ValueError("has since or until, which needs time: name the column of times")
    if since is not None and until is not None and since > until:
        raise ValueError(f"has since = {since:g} after until = {until:g}: swap them")


def read_inside(
    rows: EventRows, name: str, since: float | None, until: float | None
) -> tuple[EventRows, np.ndarray, np.ndarray]:
    """The rows whose time is within the hours.

    Args:
        rows: of which those without a usable time are refused.
        name: of the column of times.
        since, until: hours; None does not bound.

    Returns:
        The rows, their times, float64 (V,), and how many rows of each patient are outside, int32.

    Raises:
        InputError: the column holds dates, or a time is missing or no number under "error".
    """
    time_V = _times(rows, name)
    is_inside_V = within(time_V, since, until)
    num_outside_N = rows.per_patient(~is_inside_V & ~np.isnan(time_V))
    return rows.keep(is_inside_V), time_V[is_inside_V], num_outside_N


def _times(rows: EventRows, name: str) -> np.ndarray:
    """Times, float64 (V,); NaN for those of refused rows.

    Raises:
        InputError: the column holds dates, or a time is missing or no number under "error".
    """
    column = rows.column(name)
    refuse_unusable(rows.table, name, column)
    if is_text(column.type):
        text = clean_text(column)
        time_V, is_bad_V = parse_numbers(text)
    else:
        text = column
        time_V = np.array(pc.cast(column, pa.float64(), safe=False).to_numpy(), np.float64)
        is_bad_V = np.zeros(len(time_V), bool)
    is_bad_V = is_bad_V | ~(np.abs(time_V) <= MOST_HOURS)

    def problem(v: int) -> str:
        value = text[v].as_py()
        if value is None or value != value:
            return f'the time "{name}" is missing: fill it in or leave the row out'
        return (
            f'the time "{name}" is "{value}", which is not a number of hours: '
            "give hours, such as hours since admission"
        )

    rows.refuse(is_bad_V, problem)
    return np.where(is_bad_V, np.nan, time_V)


def within(time_V: np.ndarray, since: float | None, until: float | None) -> np.ndarray:
    """Whether a time is neither before `since` nor after `until`; never for NaN."""
    low, high = -np.inf if since is None else since, np.inf if until is None else until
    return (time_V >= low) & (time_V <= high)


def coded_text(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Index (V,) into the distinct texts of a column, -1 where missing, and these in order."""
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if is_text(column.type):
        column = pc.cast(column, pa.large_string())
    coded = pc.dictionary_encode(column.combine_chunks())
    values = pa.chunked_array([coded.dictionary])
    texts = clean_text(values) if is_text(column.type) else text_of_numbers(values)
    is_there = texts.is_valid().to_numpy()
    names, place = np.unique(
        pc.fill_null(texts, "").to_numpy(zero_copy_only=False).astype(object)[is_there],
        return_inverse=True,
    )
    index = np.full(len(is_there) + 1, -1)
    index[:-1][is_there] = place
    return index[pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)], names


def sorted_events(
    patient_V: np.ndarray,
    num_patients: int,
    what: tuple[str, np.ndarray, int],
    columns: Mapping[str, np.ndarray],
) -> Ragged:
    """Events by patient, by what they are, and then by the columns in turn, however they came.

    Args:
        patient_V, num_patients: row of the patient of each event, and N.
        what: name of a column, its whole numbers (V,) >= 0, and how many there may be.
        columns: the others, float32.
    """
    name, what_V, num = what
    order_V = _order(patient_V * max(num, 1) + what_V, list(columns.values()))
    counts_N = np.bincount(patient_V, minlength=num_patients)
    return Ragged(
        start_N1=np.concatenate([[0], np.cumsum(counts_N)]).astype(np.int64),
        columns={
            name: what_V[order_V].astype(np.int32),
            **{column: values_V[order_V] for column, values_V in columns.items()},
        },
    )


def grouped(index_V: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Every index that occurs, ascending, and the places (int64, ascending) where it does."""
    if len(index_V) == 0:
        return
    order_V = np.argsort(index_V, kind="stable")
    ends = np.cumsum(np.bincount(index_V))
    for index, places in enumerate(np.split(order_V, ends[:-1])):
        if len(places):
            yield index, places


def _order(key_V: np.ndarray, columns: list[np.ndarray]) -> np.ndarray:
    """Places of events by key, and then by float32 columns."""
    if not columns:
        return np.argsort(key_V, kind="stable")
    if len(key_V) == 0 or key_V.max() >= 2**32:
        return np.lexsort((*columns[::-1], key_V))
    # One sort of whole numbers; the few that are equal in key and first column are sorted again.
    packed_V = (key_V.astype(np.uint64) << np.uint64(32)) | _ascending_bits(columns[0])
    order_V = np.argsort(packed_V)
    packed_V = packed_V[order_V]
    is_same = packed_V[1:] == packed_V[:-1]
    tied = np.flatnonzero(np.append(is_same, False) | np.append(False, is_same))
    places = order_V[tied]
    again = np.lexsort((*(values_V[places] for values_V in columns[:0:-1]), packed_V[tied]))
    order_V[tied] = places[again]
    return order_V


def _ascending_bits(values_V: np.ndarray) -> np.ndarray:
    """Whole numbers in the order of float32 numbers, uint64."""
    bits_V = (values_V + np.float32(0)).view(np.uint32)
    sign = np.uint32(1 << 31)
    return np.where(bits_V & sign, ~bits_V, bits_V | sign).astype(np.uint64)


def owners(events: Ragged) -> np.ndarray:
    """Row of the patient of each event, int64 (V,)."""
    return np.repeat(np.arange(len(events)), events.counts_N)


def hide(events: Ragged, present_N: np.ndarray) -> Ragged:
    """The events of patients for whom the modality is present."""
    counts_N = np.where(present_N, events.counts_N, 0)
    if counts_N.sum() == events.start_N1[-1]:
        return events
    is_kept_V = np.repeat(present_N, events.counts_N)
    return Ragged(
        start_N1=np.concatenate([[0], np.cumsum(counts_N)]).astype(np.int64),
        columns={name: values_V[is_kept_V] for name, values_V in events.columns.items()},
    )


def length_facts(events: Ragged) -> dict[str, float | None]:
    """Least, median and most events of an observed patient."""
    counts = events.counts_N[events.counts_N > 0]
    if len(counts) == 0:
        return {"min": None, "median": None, "max": None}
    return {
        "min": int(counts.min()),
        "median": float(np.median(counts)),
        "max": int(counts.max()),
    }


def time_facts(time_V: np.ndarray) -> dict[str, float | None]:
    """First and last time."""
    if len(time_V) == 0:
        return {"min": None, "max": None}
    return {"min": float(time_V.min()), "max": float(time_V.max())}
