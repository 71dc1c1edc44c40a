"""Who is observed in what, and how ill: a cohort folder read one modality after the other.

The kinds decide, as they do when a cohort is read. But files are not decoded, and events and notes
are looked through a few thousand rows at a time, unless the modality counts broken ones as missing,
for then they have to be read.
"""

# N patients, M modalities

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from remind.cohort import CohortSpec, checks
from remind.cohort.columns import (
    as_text,
    clean_text,
    is_text,
    missing_values,
    parse_numbers,
    read_feature,
    read_ids,
    read_splits,
)
from remind.cohort.kinds import KINDS
from remind.cohort.kinds.codes import CodesSpec
from remind.cohort.kinds.events import within
from remind.cohort.kinds.files import FileSpec
from remind.cohort.kinds.paths import paths_of_column, paths_of_table
from remind.cohort.kinds.reading import Reading
from remind.cohort.kinds.series import SeriesSpec
from remind.cohort.kinds.text_notes import TextSpec
from remind.cohort.tables import (
    MISSING_TEXT,
    column_names,
    find_files,
    read_columns,
    require_columns,
    source_name,
)
from remind.errors import InputError
from remind.sources.masking.tables import Patients
from remind.sources.masking.tables import reading as rows_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """The patients of a cohort.

    Args:
        ids: (N,) as they are in the table.
        present_NM: whether each modality is observed, bool.
        severity_N: the column that missingness depends on, float64, NaN where missing; or None.
        split_N: 'train', 'val' or 'test', or None if the table has no such column.
    """

    ids: np.ndarray
    present_NM: np.ndarray
    severity_N: np.ndarray | None
    split_N: np.ndarray | None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def names(self) -> np.ndarray:
        """The ids as text (N,)."""
        return as_text(self.ids)


def observe(spec: CohortSpec, severity: str | None = None) -> Seen:
    """Read who is observed in what.

    Args:
        spec: of the cohort.
        severity: a numeric column of its table.

    Raises:
        InputError: a table cannot be read, an id comes twice, or the severity is not numeric.
    """
    files = find_files(spec.cohort.table, spec.root)
    names = column_names(files)
    source = source_name([str(file) for file in files])
    columns = [spec.cohort.id]
    for name, modality in spec.modalities.items():
        asked_by = f"[modalities.{name}] of {spec.source}"
        require_columns(names, modality.feature_columns, source, asked_by)
        columns += modality.feature_columns
    if spec.split.column is not None:
        columns.append(spec.split.column)
    if severity is not None:
        require_columns(names, [severity], source, "the [severity] of the mask")
        columns.append(severity)
    table = read_columns(files, columns, spec.root)
    ids = read_ids(table, spec.cohort.id, "id")
    checks.unique_ids(table, spec.cohort.id, ids)
    patients, present = Patients(ids=ids), []
    for name, modality in spec.modalities.items():
        reading = Reading(
            modality=name,
            table=table,
            ids=ids,
            id_column=spec.cohort.id,
            policy=modality.on_invalid,
        )
        present.append(_present(reading, modality, patients))
    return Seen(
        ids=ids,
        present_NM=np.column_stack(present),
        severity_N=None if severity is None else _numbers(table, severity),
        split_N=None if spec.split.column is None else read_splits(table, spec.split.column),
    )


def _present(reading: Reading, modality: Any, patients: Patients) -> np.ndarray:
    """Whether each patient is observed in a modality, bool (N,)."""
    kind = KINDS[modality.kind]
    if modality.on_invalid == "missing":
        return kind.present(kind.read(reading, modality, None))
    if isinstance(modality, FileSpec):
        return _has_path(reading, modality)
    if isinstance(modality, SeriesSpec | CodesSpec | TextSpec) and modality.table is not None:
        return _has_row(reading, modality, modality.table, patients)
    return kind.present(kind.read(reading, modality, None))


def _has_path(reading: Reading, modality: FileSpec) -> np.ndarray:
    if modality.column is not None:
        paths = paths_of_column(reading, modality.column)
    else:
        assert modality.table is not None
        id_column = modality.id or reading.id_column
        paths = paths_of_table(
            reading,
            modality.table,
            id_column,
            modality.path,
            time=modality.time,
            since=modality.since,
            until=modality.until,
        )
        assert paths is not None  # only a table to predict may lack it
    return np.bincount(paths.owner_V, minlength=len(reading.ids)) > 0


def _has_row(
    reading: Reading, modality: SeriesSpec | CodesSpec | TextSpec, table: str, patients: Patients
) -> np.ndarray:
    """Patients with a row within the hours that are read, with a value or words in it."""
    id_column = modality.id or reading.id_column
    value = modality.value if isinstance(modality, SeriesSpec) else None
    text = modality.text if isinstance(modality, TextSpec) else None
    columns = [name for name in (id_column, modality.time, value, text) if name is not None]
    since, until = getattr(modality, "since", None), modality.until
    files = find_files(table, reading.table.folder)
    source = source_name([str(file) for file in files])
    require_columns(column_names(files), columns, source, f"[modalities.{reading.modality}]")
    present_N1 = np.zeros(len(reading.ids) + 1, dtype=bool)  # the last is nobody of the cohort
    for file in files:
        with rows_of(file, columns) as (_, batches):
            for batch in batches:
                is_used_V = np.ones(batch.num_rows, dtype=bool)
                if value is not None:
                    is_used_V &= ~_is_empty(batch.column(value))
                if text is not None:
                    is_used_V &= ~missing_values(clean_text(pa.chunked_array([batch.column(text)])))
                if modality.time is not None and (since is not None or until is not None):
                    is_used_V &= within(_times(batch.column(modality.time)), since, until)
                present_N1[patients.of(batch, id_column)[is_used_V]] = True
    return present_N1[:-1]


def _is_empty(values: pa.Array) -> np.ndarray:
    if not is_text(values.type):
        return missing_values(pa.chunked_array([values]))
    text = clean_text(pa.chunked_array([values]))
    return np.isin(text.to_numpy().astype(object), MISSING_TEXT) | missing_values(text)


def _times(values: pa.Array) -> np.ndarray:
    if is_text(values.type):
        return parse_numbers(clean_text(pa.chunked_array([values])))[0]
    return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _numbers(table: Any, column: str) -> np.ndarray:
    values = read_feature(table, column)
    if values.dtype.kind != "f":
        raise InputError(
            f'{table.source}: column "{column}" holds categories, and the [severity] of the mask '
            "needs numbers: name another column"
        )
    return values.to_numpy()
