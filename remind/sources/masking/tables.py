"""Tables with values taken out: streamed from file to file, a few thousand rows at a time."""

# N patients, V rows of a batch

import gzip
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet as pq

from remind.cohort.columns import as_text, is_text, read_ids
from remind.cohort.kinds.paths import SEPARATOR
from remind.cohort.tables import BLOCK_BYTES, Table, column_names

pc: Any = pyarrow.compute  # its functions are made at import time, unknown to type checkers

BATCH_ROWS = 1 << 16
Edit = Callable[[pa.RecordBatch], pa.RecordBatch]


@dataclass(frozen=True, kw_only=True, eq=False)
class Patients:
    """Finds the patients of rows.

    Args:
        ids: (N,) of the cohort.
    """

    ids: np.ndarray

    def of(self, batch: pa.RecordBatch, id_column: str) -> np.ndarray:
        """The patient of each row, int64 (V,); -1 for one who is not of the cohort."""
        if batch.num_rows == 0:
            return np.zeros(0, np.int64)
        table = Table(
            data=pa.table({id_column: batch.column(id_column)}),
            shards=(("a batch", batch.num_rows),),
            untyped=frozenset(),
            folder=Path(),
        )
        ids_V = read_ids(table, id_column, "id")
        if ids_V.dtype.kind == "i" and self.ids.dtype.kind == "i":
            return self._numbers.get_indexer(pd.Index(ids_V))
        return self._texts.get_indexer(pd.Index(as_text(ids_V)))

    @cached_property
    def _numbers(self) -> pd.Index:
        return pd.Index(self.ids)

    @cached_property
    def _texts(self) -> pd.Index:
        return pd.Index(as_text(self.ids))


def without_rows(patients: Patients, id_column: str, gone_N: np.ndarray) -> Edit:
    """Take out the rows of some patients."""

    def edit(batch: pa.RecordBatch) -> pa.RecordBatch:
        patient_V = patients.of(batch, id_column)
        return batch.filter(pa.array(~np.append(gone_N, False)[patient_V]))

    return edit


def without_values(
    patients: Patients,
    id_column: str,
    hidden: Mapping[str, np.ndarray],
    gone_N: np.ndarray,
) -> Edit:
    """Take out the rows of some patients, and make null what is hidden (N,) in each column."""

    def edit(batch: pa.RecordBatch) -> pa.RecordBatch:
        patient_V = patients.of(batch, id_column)
        fields, arrays = [], []
        for field, values in zip(batch.schema, batch.columns, strict=True):
            hidden_N = hidden.get(field.name)
            if hidden_N is not None:
                places = pa.array(np.arange(batch.num_rows), mask=hidden_N[patient_V])
                field, values = field.with_nullable(True), values.take(places)
            fields.append(field)
            arrays.append(values)
        schema = pa.schema(fields, metadata=batch.schema.metadata)
        edited = pa.RecordBatch.from_arrays(arrays, schema=schema)
        return edited.filter(pa.array(~gone_N[patient_V]))

    return edit


def with_whole_paths(columns: list[str], root: Path) -> Edit:
    """Let relative paths in some columns of text start at `root`; lists and ";" hold several."""

    def whole(value: Any) -> Any:
        if isinstance(value, str):
            parts = [part.strip() for part in value.split(SEPARATOR)]
            return SEPARATOR.join(str(root / part) if part else part for part in parts)
        return [whole(part) for part in value] if isinstance(value, list) else value

    def edit(batch: pa.RecordBatch) -> pa.RecordBatch:
        fields, arrays = [], []
        for field, values in zip(batch.schema, batch.columns, strict=True):
            if field.name in columns and _holds_text(field.type):
                kind = pa.string() if pa.types.is_dictionary(field.type) else field.type
                values = pa.array([whole(value) for value in values.to_pylist()], kind)
                field = field.with_type(kind)
            fields.append(field)
            arrays.append(values)
        schema = pa.schema(fields, metadata=batch.schema.metadata)
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    return edit


def with_text(columns: Sequence[str]) -> Edit:
    """Write some columns as text: 36.6 as "36.6", 15.0 as "15", NaN as null."""

    def edit(batch: pa.RecordBatch) -> pa.RecordBatch:
        for c, field in enumerate(batch.schema):
            if field.name in columns:
                values = batch.column(c)
                if pa.types.is_floating(field.type):
                    values = pc.if_else(pc.is_nan(values), None, values)
                batch = batch.set_column(c, field.with_type(pa.string()), values.cast(pa.string()))
        return batch

    return edit


def rewrite(file: Path, target: Path, edit: Edit | None) -> None:
    """Write a table with another content; `target` may be `file`, and is whole or as it was.

    Parquet stays Parquet with its schema, and CSV stays CSV with its cells as they are written.

    Args:
        file: .parquet, .csv or .csv.gz.
        target: of the same suffix; its folder is made.
        edit: of each batch of rows; None copies the file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".part-{target.name}")
    if edit is None:
        shutil.copyfile(file, part)
    else:
        with ExitStack() as stack:
            schema, batches = stack.enter_context(reading(file))
            empty = edit(pa.RecordBatch.from_pylist([], schema=schema))
            write = stack.enter_context(_writing(part, empty.schema))
            for batch in batches:
                edited = edit(batch)
                if edited.num_rows:
                    write(edited)
    os.replace(part, target)


def _holds_text(kind: Any) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return is_text(kind.value_type if is_list else kind)


def is_csv(file: Path) -> bool:
    """Whether the cells of a table are text of unknown types."""
    return not file.name.lower().endswith(".parquet")


@contextmanager
def reading(
    file: Path, columns: Sequence[str] | None = None
) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """The schema of a table, and its rows in batches; cells of a CSV file are text, never null.

    Args:
        file: .parquet, .csv or .csv.gz.
        columns: those to read; None reads all. The schema is that of all.
    """
    if not is_csv(file):
        with pq.ParquetFile(file) as parquet:
            batches = parquet.iter_batches(
                batch_size=BATCH_ROWS, columns=None if columns is None else [*columns]
            )
            yield parquet.schema_arrow, batches
        return
    cells = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(column_names([file]), pa.string()),
        include_columns=columns,
        strings_can_be_null=False,
    )
    open_file: Any = gzip.open if file.name.lower().endswith(".gz") else open
    with (
        open_file(file, "rb") as raw,
        pyarrow.csv.open_csv(
            raw,
            read_options=pyarrow.csv.ReadOptions(block_size=BLOCK_BYTES),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=cells,
        ) as reader,
    ):
        yield reader.schema, reader


@contextmanager
def _writing(part: Path, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """What writes a batch; the same content gives the same bytes."""
    if not is_csv(part):
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            yield writer.write_batch
        return
    with ExitStack() as stack:
        raw: Any = stack.enter_context(part.open("wb"))
        if part.name.lower().endswith(".gz"):
            raw = stack.enter_context(gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0))
        yield stack.enter_context(pyarrow.csv.CSVWriter(raw, schema)).write_batch
