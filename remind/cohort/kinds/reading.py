"""What a modality kind reads from: the cohort's table, or a long table of its own."""

# N patients, V rows of a long table, U distinct ids in it

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute

from remind.cohort.columns import as_text, missing_values, read_ids
from remind.cohort.tables import (
    Table,
    column_names,
    find_files,
    matching,
    read_columns,
    require_columns,
    source_name,
)
from remind.errors import InputError

Policy = Literal["error", "missing"]

pc: Any = pyarrow.compute  # its functions are made at import time, unknown to type checkers


@dataclass(frozen=True, kw_only=True)
class OtherIds:
    """Rows of a long table that are of nobody in the cohort: of other patients, or of a slip.

    Args:
        rows: how many.
        of: how many the table has.
        example: one of their ids.
    """

    rows: int
    of: int
    example: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """One modality that is being read.

    Args:
        modality: its name.
        table: of the cohort, a row per patient.
        ids: of the patients (N,), in the order of the table.
        id_column: the column that holds them.
        is_training: False for a table to predict, where a modality may be absent.
        policy: what an invalid value means: an error, or that it is missing.
        has_toml: whether there is a cohort.toml, in which the user may change that.
        invalid: a sentence for each value that the policy "missing" passed over.
        rejected: rows of the patients whose values those are.
        remarks: a sentence for each thing that is accepted, but is probably not what was meant.
        others: of the modality's long table, if it has rows of nobody in the cohort.
    """

    modality: str
    table: Table
    ids: np.ndarray
    id_column: str
    is_training: bool = True
    policy: Policy = "error"
    has_toml: bool = True
    invalid: list[str] = field(default_factory=list)
    rejected: set[int] = field(default_factory=set)
    remarks: list[str] = field(default_factory=list)
    others: list[OtherIds] = field(default_factory=list)

    def reject(self, sentence: str, patient: int | np.integer | None = None) -> None:
        """Refuse a value of a patient, given by row, if one is known; or note that it is missing.

        Raises:
            InputError: the policy is "error".
        """
        if self.policy == "error":
            or_else = f' (or set on_invalid = "missing" in [modalities.{self.modality}])'
            raise InputError(sentence + or_else if self.has_toml else sentence)
        self.invalid.append(sentence)
        if patient is not None:
            self.rejected.add(int(patient))


@dataclass(frozen=True, kw_only=True, eq=False)
class LongTable:
    """Rows of a long table that belong to patients of the cohort.

    Args:
        table: its columns; V rows.
        patient_V: row of the patient in the cohort, int64; -1 for someone else's row, or nobody's.
    """

    table: Table
    patient_V: np.ndarray


def read_long(
    reading: Reading,
    file: str,
    id_column: str,
    columns: Sequence[str],
    names: Collection[str] = (),
) -> LongTable | None:
    """Read a long table that lies beside the cohort's table.

    Args:
        reading: of the modality.
        file: a path or glob, relative to the folder of the cohort.
        id_column: the patient of each row.
        columns: the others to read, all of which must be there.
        names: those whose cells are names, of which only an empty one is missing.

    Returns:
        None if a table to predict has no such file beside it: the modality is unobserved.

    Raises:
        InputError: it cannot be read, lacks a column, an id under the policy "error", or every row
            of the patients; a table to predict may have no row at all.
    """
    folder = reading.table.folder
    if not reading.is_training and not matching(file, folder):
        return None
    files = find_files(file, folder)
    source = source_name([str(path) for path in files])
    wanted = [id_column, *columns]
    require_columns(column_names(files), wanted, source, f"[modalities.{reading.modality}]")
    table = read_columns(files, wanted, folder, names, may_be_empty=True)
    if reading.is_training and not len(table):
        raise InputError(
            f"{table.source} has no rows: [modalities.{reading.modality}] needs a row for each of "
            "its values; leave the modality out if there are none"
        )
    patient_V, other_U, num_others = _patients(reading, table, id_column)
    slips = _slips(other_U, reading.ids)
    such_as = f' (such as "{slips[0][0]}" for "{slips[0][1]}")' if slips else ""
    if len(table) and not (patient_V >= 0).any():
        or_else = "" if reading.is_training else ", or take this one away if none of them has a row"
        if len(other_U) and not slips:
            such_as = f' (such as "{other_U[0]}"; there "{reading.ids[0]}")'
        raise InputError(
            f'{table.source}: no id in its column "{id_column}" is that of a patient of '
            f"{reading.table.source}{such_as}: give both tables the same ids{or_else}"
        )
    if len(other_U):
        note = OtherIds(rows=num_others, of=len(table), example=str(other_U[0]))
        reading.others.append(note)
    if slips:
        named = "1 id is" if len(slips) == 1 else f"{len(slips)} ids are"
        reading.remarks.append(
            f'{table.source}: {named} in the column "{id_column}" that no patient of '
            f"{reading.table.source} has, but one would if it were written as there{such_as}: "
            "their rows were not read; write the ids of both tables alike"
        )
    return LongTable(table=table, patient_V=patient_V)


def _patients(reading: Reading, table: Table, id_column: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Row of the patient of each row, int64 (V,), the distinct ids of nobody, and their rows.

    The row is -1 if it is nobody's, or the row has no id.
    """
    column = table.data[id_column]
    is_missing_V = missing_values(column)
    row_V = np.flatnonzero(~is_missing_V)
    if len(row_V) < len(table):
        num = len(table) - len(row_V)
        more = f" (and in {num - 1} more)" if num > 1 else ""
        reading.reject(
            f'{table.where(int(is_missing_V.argmax()))}: the id "{id_column}" is missing{more}: '
            "fill it in or leave the row out"
        )
        column = column.filter(pa.array(~is_missing_V))
    distinct, which_V = _distinct(column)  # a patient has many rows
    with_id = replace(table, data=pa.table({id_column: distinct}))
    ids_U = read_ids(with_id, id_column, "id")
    patient_U = _rows_of(ids_U, reading.ids)
    patient_V = np.full(len(table), -1)
    patient_V[row_V] = patient_U[which_V]
    is_other_U = patient_U < 0
    return patient_V, ids_U[is_other_U], int(np.count_nonzero(is_other_U[which_V]))


def _distinct(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, np.ndarray]:
    """The distinct values of a column in the order of their first rows, and which each row has."""
    if pa.types.is_dictionary(column.type):  # its words may be no row's
        column = pc.cast(column, column.type.value_type)
    try:
        coded = pc.dictionary_encode(column).combine_chunks()
    except pa.ArrowNotImplementedError:  # of UUIDs, and of what can be no id
        return column, np.arange(len(column))
    return pa.chunked_array([coded.dictionary]), coded.indices.to_numpy()


def _slips(other_U: np.ndarray, ids: np.ndarray) -> list[tuple[str, str]]:
    """Each id of nobody that a patient has but for zeros, ".0", case or blanks, and the patient's.

    An id that is like those of several patients then is left alone.
    """
    if not len(other_U) or (other_U.dtype.kind == "i" and ids.dtype.kind == "i"):
        return []
    other_U = as_text(pd.unique(other_U))
    key_N = pd.Index(_bare(as_text(ids)))
    row_n = np.flatnonzero(~key_N.duplicated(keep=False))
    place_U = key_N[row_n].get_indexer(pd.Index(_bare(other_U)))
    is_slip_U = place_U >= 0
    meant = as_text(ids[row_n[place_U[is_slip_U]]])
    return list(zip(other_U[is_slip_U], meant, strict=True))


def _bare(ids: np.ndarray) -> pd.Series:
    """Ids without what a spreadsheet, a database or a typist adds or takes away."""
    bare = pd.Series(ids).str.strip().str.lower()
    bare = bare.str.replace(r"\.0+$", "", regex=True)
    return bare.str.replace(r"^0+(?=.)", "", regex=True)


def _rows_of(ids_V: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Position of each id among those of the patients, -1 if it is not there."""
    if ids_V.dtype.kind == "i" and ids.dtype.kind == "i":
        return pd.Index(ids).get_indexer(pd.Index(ids_V))
    return pd.Index(as_text(ids)).get_indexer(pd.Index(as_text(ids_V)))
