"""Tables on disk or in memory: CSV, CSV.gz, Parquet, globs of them, pandas and polars frames.

Only the columns that are asked for are read. A CSV file carries no types, so all its cells stay
text here; `columns.py` finds out what they are. Rows are named by file and 1-based data row.
"""

import csv
import glob
import gzip
import io
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from remind.errors import InputError, did_you_mean

pc: Any = pyarrow.compute  # its functions are made at import time, unknown to type checkers

# How R, pandas, numpy and SQL clients write "no value" into a CSV cell, next to the empty cell.
MISSING_TEXT = ("", "NA", "NaN", "nan", "<NA>", "NULL", "null")
SUFFIXES = (".csv", ".csv.gz", ".parquet")
BLOCK_BYTES = 16 << 20
LAZY_BYTES = 256 << 20  # Parquet columns of more than this are not all read at once


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Columns of one or several files.

    Args:
        data: the columns that were asked for; those of big Parquet files are read when used.
        shards: name and number of rows of each file, in order.
        untyped: columns whose cells are text of a type not yet known (all columns of a CSV).
        folder: where relative paths inside cells start.
    """

    data: "pa.Table | LazyColumns"
    shards: tuple[tuple[str, int], ...]
    untyped: frozenset[str]
    folder: Path

    @property
    def source(self) -> str:
        """The file's name, for error sentences."""
        return source_name([name for name, _ in self.shards])

    def __len__(self) -> int:
        return self.data.num_rows

    def where(self, row: int) -> str:
        """Name a row: ``'patients.csv, row 12'``, counted from 1 within its file."""
        ends = np.cumsum([num_rows for _, num_rows in self.shards])
        shard = int(np.searchsorted(ends, row, side="right"))
        name, num_rows = self.shards[shard]
        return f"{name}, row {row - (int(ends[shard]) - num_rows) + 1}"


@dataclass(frozen=True, kw_only=True, eq=False)
class LazyColumns:
    """Columns of Parquet files, each read when it is asked for, and not kept.

    Args:
        files: that hold all of the columns.
        num_rows: of all files.
    """

    files: tuple[Path, ...]
    num_rows: int

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        return _joined([(str(file), _read(file, [name])) for file in self.files])[name]


def source_name(names: Sequence[str]) -> str:
    """One name for several files."""
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"


def matching(pattern: str, root: Path) -> list[Path]:
    """The path, if something is there, or else what the glob matches, sorted by name.

    Args:
        pattern: a path or a glob.
        root: where a relative one starts; signs of a glob in its own name mean nothing.
    """
    path = root / pattern
    if path.exists():
        return [path]
    return [root / name for name in sorted(glob.glob(pattern, root_dir=root, recursive=True))]


def find_files(pattern: str, root: Path) -> list[Path]:
    """The files of a path or glob, sorted by name; relative ones start at `root`.

    Raises:
        InputError: nothing is there, or a file is not CSV, CSV.gz or Parquet.
    """
    path = root / pattern
    files = matching(pattern, root)
    if not files and not any(sign in pattern for sign in "*?["):
        files = [path]  # reading it says what is wrong
    if not files:
        raise InputError(f"no file matches {path}: check the path or the pattern")
    suffixes = {suffix_of(file) for file in files}
    if len(suffixes) > 1:
        raise InputError(
            f"{path} mixes {' and '.join(sorted(suffixes))} files: use one format for all shards"
        )
    return files


def column_names(files: Sequence[Path]) -> list[str]:
    """The column names, which all files must share.

    Raises:
        InputError: a file cannot be read, repeats a column, or differs from the first file.
    """
    names = _header(files[0])
    for file in files[1:]:
        if difference := set(names) ^ set(_header(file)):
            listed = ", ".join(f'"{name}"' for name in sorted(difference))
            raise InputError(
                f"{file} and {files[0]} differ in {listed}: "
                "all files of one table need the same columns"
            )
    return names


def require_columns(
    names: Sequence[str], wanted: Sequence[str], source: str, asked_by: str
) -> None:
    """Raise an InputError for the first wanted column that is not there."""
    for column in wanted:
        if column not in names:
            hint = did_you_mean(column, names) or f" (it has {_listed(names)})"
            raise InputError(f'{source} has no column "{column}", which {asked_by} names{hint}')


def read_columns(
    files: Sequence[Path],
    columns: Sequence[str],
    folder: Path,
    names: Collection[str] = (),
    *,
    may_be_empty: bool = False,
) -> Table:
    """Read some columns of the files, one after the other.

    Args:
        files: of the table.
        columns: to read.
        folder: where relative paths inside cells start.
        names: columns whose cells are names ("NA" is sodium): only an empty one is missing.
        may_be_empty: whether the table may have no row.

    Raises:
        InputError: a file cannot be read, its columns do not fit together, or there is no row
            though it may not be empty.
    """
    is_parquet = suffix_of(files[0]) == ".parquet"
    untyped = frozenset(() if is_parquet else columns)
    columns = list(dict.fromkeys(columns))
    if is_parquet and (found := _big(files, columns)):
        shards, data = found, LazyColumns(files=tuple(files), num_rows=sum(n for _, n in found))
    else:
        parts = [(str(file), _read(file, columns, names)) for file in files]
        shards = tuple((name, part.num_rows) for name, part in parts)
        data = _joined(parts)
    table = Table(data=data, shards=shards, untyped=untyped, folder=folder)
    return table if may_be_empty else _not_empty(table)


def _big(files: Sequence[Path], columns: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Name and rows of each Parquet file if these columns are too big to hold at once, else ()."""
    shards, num_bytes = [], 0
    for file in files:
        with _reading(file):
            metadata = pyarrow.parquet.read_metadata(file)
        shards.append((str(file), metadata.num_rows))
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                path = column.path_in_schema
                if any(path == name or path.startswith(f"{name}.") for name in columns):
                    num_bytes += max(column.total_uncompressed_size, 4 * group.num_rows)
    return tuple(shards) if num_bytes > LAZY_BYTES else ()


def _joined(parts: Sequence[tuple[str, pa.Table]]) -> pa.Table:
    """The rows of several files, one after the other."""
    try:
        return pa.concat_tables([part for _, part in parts], promote_options="permissive")
    except pa.ArrowException as error:
        names = [name for name, _ in parts]
        raise InputError(
            f"the files of {source_name(names)} do not fit together: {error}"
        ) from error


def table_from_frame(
    frame: Any, columns: Sequence[str], folder: Path, source: str = "the frame"
) -> Table:
    """Take columns of a pandas or polars frame; their types are the frame's.

    `source` is what it is called in errors, `folder` where relative paths in its cells start.
    """
    shards = ((source, len(frame)),)
    if hasattr(frame, "to_arrow"):  # polars
        data = frame.select(list(columns)).to_arrow()
        return _not_empty(Table(data=data, shards=shards, untyped=frozenset(), folder=folder))
    positions = {str(name): position for position, name in enumerate(frame.columns)}
    arrays = {name: _array(frame.iloc[:, positions[name]], source) for name in columns}
    untyped = frozenset(name for name, (_, is_mixed) in arrays.items() if is_mixed)
    data = _wide(pa.table({name: array for name, (array, _) in arrays.items()}))
    return _not_empty(Table(data=data, shards=shards, untyped=untyped, folder=folder))


def frame_columns(frame: Any, source: str = "the frame") -> list[str]:
    """The column names of a pandas or polars frame, which errors call by its source."""
    names = [str(name) for name in frame.columns]
    _no_duplicate(names, source)
    return names


def _array(series: Any, source: str) -> tuple[pa.Array, bool]:
    """The Arrow array of a pandas column, and whether it is the text of mixed objects."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        values, _ = _array(pd.Series(series.cat.categories, name=series.name), source)
        codes = series.cat.codes.to_numpy()
        return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), values), False
    if isinstance(series.dtype, pd.SparseDtype):
        series = series.sparse.to_dense()
    if isinstance(series.dtype, pd.IntervalDtype):
        series = series.astype(object)
    elif isinstance(series.dtype, pd.PeriodDtype):
        series = series.dt.to_timestamp()
    try:
        return pa.array(series, from_pandas=True), False
    except pa.ArrowNotImplementedError as error:
        raise InputError(
            f'{source}: column "{series.name}" holds values of type {series.dtype}, '
            "expected numbers or text"
        ) from error
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array(
            series.where(series.isna(), series.map(str)), from_pandas=True, type=pa.large_string()
        ), True


def _not_empty(table: Table) -> Table:
    if len(table) == 0:
        raise InputError(f"{table.source} has no rows: it needs one row per patient")
    return table


def suffix_of(file: Path) -> str:
    """The suffix of a table, one of `SUFFIXES`.

    Raises:
        InputError: it has another one.
    """
    for suffix in SUFFIXES:
        if file.name.lower().endswith(suffix):
            return suffix
    raise InputError(
        f"{file} is neither {', '.join(SUFFIXES[:-1])} nor {SUFFIXES[-1]}: "
        "convert the table to one of these"
    )


def _header(file: Path) -> list[str]:
    with _reading(file):
        if suffix_of(file) == ".parquet":
            names = list(pyarrow.parquet.read_schema(file).names)
        else:
            names = _csv_header(file)
    _no_duplicate(names, str(file))
    return names


def _csv_header(file: Path) -> list[str]:
    with _open(file) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
        names = next(csv.reader(text), [])
    if not names:
        raise InputError(f"{file} is empty: its first line must hold the column names")
    for sign, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and sign in names[0]:
            raise InputError(f"{file} separates its columns by {name}: save it with commas")
    return names


def _no_duplicate(names: Sequence[str], source: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name and name in seen:
            raise InputError(
                f'{source} has the column "{name}" twice: rename or remove one of them'
            )
        seen.add(name)


def _read(file: Path, columns: list[str], names: Collection[str] = ()) -> pa.Table:
    with _reading(file):
        if suffix_of(file) == ".parquet":
            return _wide(pyarrow.parquet.ParquetFile(file).read(columns=columns).select(columns))
        with _open(file) as raw:
            table = pyarrow.csv.read_csv(
                raw,
                read_options=pyarrow.csv.ReadOptions(block_size=BLOCK_BYTES),
                parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
                convert_options=pyarrow.csv.ConvertOptions(
                    include_columns=columns,
                    column_types=dict.fromkeys(columns, pa.string()),
                    null_values=[""] if names else list(MISSING_TEXT),
                    strings_can_be_null=True,
                ),
            )
        return _wide(_without_missing_text(table, names) if names else table)


def _without_missing_text(table: pa.Table, names: Collection[str]) -> pa.Table:
    """Null in place of `MISSING_TEXT`, but in columns of names."""
    missing = pa.array(MISSING_TEXT, pa.string())
    for c, name in enumerate(table.column_names):
        if name not in names:
            column = table.column(c)
            value = pc.if_else(pc.is_in(column, missing), pa.scalar(None, pa.string()), column)
            table = table.set_column(c, name, value)
    return table


def _wide(table: pa.Table) -> pa.Table:
    """Text with 64-bit offsets, since rows are taken and joined, and 2 GiB of it may come."""
    for c, field in enumerate(table.schema):
        kind = None
        if pa.types.is_string(field.type):
            kind = pa.large_string()
        elif pa.types.is_list(field.type) and pa.types.is_string(field.type.value_type):
            kind = pa.list_(pa.large_string())
        if kind is not None:
            table = table.set_column(c, field.name, table.column(c).cast(kind))
    return table


def _open(file: Path) -> IO[bytes]:
    return gzip.open(file, "rb") if suffix_of(file) == ".csv.gz" else file.open("rb")  # type: ignore[return-value]


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Turn whatever goes wrong while reading a file into one sentence."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        near = [path.name for path in file.parent.iterdir()] if file.parent.is_dir() else []
        raise InputError(f"{file} does not exist{did_you_mean(file.name, near)}") from error
    except IsADirectoryError as error:
        raise InputError(
            f'{file} is a folder: name a file in it, or a glob such as "{file.name}/*"'
        ) from error
    except (OSError, EOFError, zlib.error, ValueError, csv.Error, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        if isinstance(error, UnicodeDecodeError) or "UTF8" in reason:
            raise InputError(
                f"{file} is not UTF-8 text: save it with the encoding UTF-8"
            ) from error
        raise InputError(f"{file} cannot be read: {reason}") from error


def _listed(names: Sequence[str], limit: int = 12) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
