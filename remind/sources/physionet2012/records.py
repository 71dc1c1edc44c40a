"""The files of the challenge: a text file per record, in the folder of its set or in an archive."""

import hashlib
import logging
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from remind.errors import InputError

LOG = logging.getLogger(__name__)
SETS = ("a", "b", "c")
HEADER = "Time,Parameter,Value"
ARCHIVES = (".zip", ".tar.gz")
ROWS_AT_ONCE = 1 << 18
SCHEMA = pa.schema(
    {
        "set": pa.string(),
        "record": pa.int64(),
        "row": pa.int32(),
        **dict.fromkeys(("time", "parameter", "written"), pa.string()),
    }
)


@dataclass(frozen=True, kw_only=True)
class RecordSet:
    """A set of the challenge.

    Args:
        name: "a", "b" or "c".
        path: its folder or archive.
        records: record ids, in the order they were read.
        facts: bytes and sha256 over names and contents, for the manifest.
    """

    name: str
    path: Path
    records: list[int]
    facts: dict[str, Any]


def read_sets(root: Path, out: Path) -> list[RecordSet]:
    """Write the rows of all records that are below the root as one Parquet file.

    Args:
        root: holds set-a/, set-b/ and set-c/ or their archives.
        out: Parquet file to write: set, record, row (from 0), time, parameter, written.

    Returns:
        The sets that are there.

    Raises:
        InputError: there is no set, or a file is cut short or malformed.
    """
    paths = {name: path for name in SETS if (path := _find(root, name)) is not None}
    if not paths:
        raise InputError(
            f"{root} has no set-a, set-b or set-c (a folder of text files, .zip or .tar.gz):"
            " --root must be the folder of PhysioNet Challenge 2012"
        )
    with closing(_Rows(out)) as rows:
        return [_read_set(name, path, rows) for name, path in paths.items()]


class _Rows:
    """Rows on their way to a Parquet file, a part after the other."""

    def __init__(self, out: Path) -> None:
        self._writer = pq.ParquetWriter(out, SCHEMA, compression="zstd")
        self._columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}

    def add(self, set_name: str, record: int, rows: list[list[str]]) -> None:
        columns = self._columns
        columns["set"] += [set_name] * len(rows)
        columns["record"] += [record] * len(rows)
        columns["row"] += range(len(rows))
        for place, name in enumerate(("time", "parameter", "written")):
            columns[name] += [row[place].strip() for row in rows]
        if len(columns["row"]) >= ROWS_AT_ONCE:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write_table(pa.table(self._columns, schema=SCHEMA))
        self._columns = {name: [] for name in SCHEMA.names}


def _find(root: Path, name: str) -> Path | None:
    """The folder of a set, or its archive."""
    folder = root / f"set-{name}"
    if folder.is_dir():
        return folder
    archives = (root / f"set-{name}{suffix}" for suffix in ARCHIVES)
    return next((path for path in archives if path.is_file()), None)


def _read_set(name: str, path: Path, rows: _Rows) -> RecordSet:
    LOG.info("reading %s", path)
    digest, num_bytes, records = hashlib.sha256(), 0, list[int]()
    for file, content in _files(path):
        stem = PurePosixPath(file).stem
        if not stem.isdigit():
            continue
        digest.update(file.encode() + content)
        num_bytes += len(content)
        records.append(int(stem))
        rows.add(name, int(stem), _parse(f"{path / PurePosixPath(file).name}", content))
    if not records:
        raise InputError(f"{path} holds no text file of a record: download the set again")
    if len(set(records)) < len(records):
        raise InputError(f"{path} holds a record twice: download the set again")
    facts = {
        "path": path.name,
        "files": len(records),
        "bytes": num_bytes,
        "sha256": digest.hexdigest(),
    }
    return RecordSet(name=name, path=path, records=records, facts=facts)


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names below the set and contents of its text files.

    Raises:
        InputError: the archive is cut short or is none.
    """
    if path.is_dir():
        for file in sorted(path.glob("*.txt")):
            yield file.name, file.read_bytes()
        return
    try:
        yield from _in_zip(path) if path.suffix == ".zip" else _in_tar(path)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path} is cut short or damaged: download it again") from error


def _in_zip(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".txt"):
                yield PurePosixPath(name).name, archive.read(name)


def _in_tar(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path, "r|gz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith(".txt") else None
            if file is not None:
                yield PurePosixPath(member.name).name, file.read()


def _parse(file: str, content: bytes) -> list[list[str]]:
    """The rows of a record: time, parameter, value.

    Raises:
        InputError: it is no text, or has another header or number of columns.
    """
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 text: download it again") from error
    if not lines:
        return []
    if lines[0].strip() != HEADER:
        raise InputError(f'{file}: line 1 is "{lines[0]}", expected {HEADER}: download it again')
    rows = [line.split(",") for line in lines[1:] if line.strip()]
    for row in rows:
        if len(row) != 3:
            line = lines.index(",".join(row)) + 1
            raise InputError(
                f'{file}: line {line} is "{",".join(row)}", expected a time, a parameter and a '
                "value: download it again"
            )
    return rows
