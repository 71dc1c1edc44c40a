"""Tables of a raw release, read out of core: DuckDB views over its .csv, .csv.gz or .parquet files.

The memory that DuckDB takes is bounded by an option; what does not fit goes to a working folder
inside the cohort folder that is being made, and goes away with it.
"""

import logging
import shutil
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from remind.cohort.extras import require
from remind.errors import InputError, did_you_mean
from remind.sources.manifest import sha256_of

SUFFIXES = (".csv.gz", ".csv", ".parquet")
WORK = ".work"
LOG = logging.getLogger(__name__)


class RawTables:
    """The tables of a release below one folder.

    Args:
        root: the folder of the release.
        out: the folder that is being made; the working files lie in it until `close`.
        memory_gb: memory limit of DuckDB in gigabytes, > 0.
        threads: of DuckDB, >= 1; None takes all cores.
        title: what the release is called in messages, as in "MIMIC-IV".

    Attributes:
        work: the folder of working files.

    Raises:
        InputError: root is no folder, a limit is out of range, or DuckDB is not installed.
    """

    def __init__(
        self,
        root: Path,
        out: Path,
        *,
        title: str,
        memory_gb: float = 2.0,
        threads: int | None = None,
    ) -> None:
        self._duckdb = require("duckdb", "prepare", f"preparing {title}")
        if not root.is_dir():
            raise InputError(f"{root} is no folder: give --root the folder of {title}")
        if memory_gb <= 0:
            raise InputError(f"--memory must be above 0 gigabytes, got {memory_gb}")
        if threads is not None and threads < 1:
            raise InputError(f"--threads must be at least 1, got {threads}")
        self.root, self.title = root, title
        self.used: dict[str, dict[str, Any]] = {}
        work = out / WORK
        work.mkdir(exist_ok=True)
        self.work = work
        config: dict[str, Any] = {
            "memory_limit": f"{memory_gb}GB",
            "temp_directory": str(work / "spill"),
            "preserve_insertion_order": False,
        }
        if threads is not None:
            config["threads"] = threads
        with self.explained():
            self.connection = self._duckdb.connect(str(work / "work.duckdb"), config=config)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database and remove the working files."""
        self.connection.close()
        shutil.rmtree(self.work, ignore_errors=True)

    def find(self, name: str, root: Path | None = None) -> Path | None:
        """The file of a table, as in "hosp/labevents", or None if the release lacks it.

        A folder of Parquet shards with the name of the table counts as its file. `root` is that of
        another module of the release, if the table is not below the one of these tables.
        """
        root = root or self.root
        for suffix in SUFFIXES:
            path = root / f"{name}{suffix}"
            if path.is_file():
                return path
        folder = root / name
        return folder if folder.is_dir() and any(folder.glob("*.parquet")) else None

    def view(
        self,
        name: str,
        columns: Mapping[str, str],
        *,
        optional: Sequence[str] = (),
        as_name: str | None = None,
        root: Path | None = None,
    ) -> str:
        """Make a view with typed columns over a table; other columns of the file are not read.

        Args:
            name: of the table, as in "hosp/labevents".
            columns: name in the file, in any case → DuckDB type. A type that ends in "?" makes
                null of what is no such value (text in a numeric column, "<0.1"); otherwise it is
                an error.
            optional: columns that older or newer versions lack; they are null then.
            as_name: of the view; by default the last part of the name.
            root: of another module, if the table is not below the root of these tables.

        Returns:
            The name of the view.

        Raises:
            InputError: no such table or column, or two that differ in case only: names the file
                and the nearest column.
        """
        root = root or self.root
        path = self.find(name, root)
        if path is None:
            raise InputError(
                f"{root} has no table {name} (.csv.gz, .csv or .parquet):"
                f" --root must be the folder of {self.title} that holds it"
            )
        view = as_name or name.rsplit("/", 1)[-1]
        with self.explained(path):
            have = _require(path, self._names(path), columns, optional)
            picked = ", ".join(_typed(column, kind, have) for column, kind in columns.items())
            self.connection.execute(
                f'CREATE OR REPLACE VIEW "{view}" AS SELECT {picked} FROM {scan(path)}'
            )
        self.used[name] = {"path": str(path.relative_to(root)), "bytes": _size(path)}
        LOG.info("reading %s (%s bytes)", path, f"{_size(path):,}")
        if root != self.root:
            self.used[name]["root"] = str(root)
        return view

    def execute(self, query: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows; for results that fit in memory."""
        return self.connection.execute(query, parameters or []).fetchall()

    def insert(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Append rows to a table, all in one statement."""
        if rows:
            columns = [list(column) for column in zip(*rows, strict=True)]
            values = ", ".join(["unnest(?)"] * len(columns))
            self.execute(f"INSERT INTO {table} SELECT {values}", columns)

    def number(self, query: str) -> int:
        """The one whole number that a query returns."""
        return int(self.execute(query)[0][0])

    def write(self, query: str, path: Path, *, row_group: int = 1 << 17) -> None:
        """Write the result of a query as one Parquet file, streaming."""
        self.connection.execute(
            f"COPY ({query}) TO '{quoted(path)}'"
            f" (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {row_group})"
        )

    def checksums(self) -> dict[str, dict[str, Any]]:
        """What `Manifest.tables` holds: the files that views were made over, with their sha256."""
        for facts in self.used.values():
            path = Path(facts.get("root", self.root)) / facts["path"]
            if path.is_file():
                LOG.info("taking the checksum of %s", path)
                facts["sha256"] = sha256_of(path)
        return self.used

    @contextmanager
    def explained(self, where: Path | None = None) -> Iterator[None]:
        """Turn DuckDB's errors about the user's files or disk into one sentence.

        Raises:
            InputError: a file is cut short or malformed, a value is not of its type, the disk is
                full, or the memory limit is too small for the work.
        """
        duckdb = self._duckdb
        place = where or self.root
        try:
            yield
        except duckdb.Error as error:
            sentence = self._sentence(error, place)
            if sentence is None:
                raise
            raise sentence from error

    def _names(self, path: Path) -> list[str]:
        """The columns of a file as it writes them.

        DuckDB takes names in any case, and renames the second of two that differ in nothing else.
        """
        if path.is_file() and not path.name.endswith(".parquet"):
            rows = self.execute(f"SELECT * FROM {scan(path, header=False)} LIMIT 1")
            return [name or "" for row in rows for name in row]
        file = path if path.is_file() else min(path.glob("*.parquet"))
        leaves = f"parquet_schema('{quoted(file)}') WHERE coalesce(num_children, 0) = 0"
        return [name for (name,) in self.execute(f"SELECT name FROM {leaves}")]

    def _sentence(self, error: Exception, place: Path) -> InputError | None:
        """The user's error behind one of DuckDB's, None if it is ours."""
        duckdb, message = self._duckdb, str(error).lower()
        if "no space left" in message or "max_temp_directory_size" in message:
            return InputError(
                f"no space is left on the disk of {self.work.parent.parent}: free some, or write"
                " --out elsewhere"
            )
        if isinstance(error, duckdb.OutOfMemoryException):
            return InputError(
                f"{place}: the memory limit is too small for this table: raise --memory"
            )
        if isinstance(error, duckdb.IOException):
            return InputError(f"{_first_line(error)}: download the file again ({place})")
        if isinstance(error, (duckdb.InvalidInputException, duckdb.ConversionException)):
            remedy = "download the file again or mend the row"
            return InputError(f"{place}: {_first_line(error)}: {remedy}")
        return None


def _require(
    path: Path, names: Sequence[str], columns: Iterable[str], optional: Sequence[str]
) -> set[str]:
    """The names in lower case, of which there must be one for each column that is asked for."""
    for column in columns:
        same = [name for name in names if name.lower() == column.lower()]
        if not same and column not in optional:
            raise InputError(f'{path} has no column "{column}"{did_you_mean(column, names)}')
        if len(same) > 1:
            listed = " and ".join(f'"{name}"' for name in same)
            raise InputError(f"{path} has the columns {listed}: rename or remove one of them")
    return {name.lower() for name in names}


def _typed(column: str, kind: str, have: Container[str]) -> str:
    if column.lower() not in have:
        return f'NULL::{kind.rstrip("?")} AS "{column}"'
    if kind.endswith("?"):
        return f'TRY_CAST("{column}" AS {kind[:-1]}) AS "{column}"'
    return f'CAST("{column}" AS {kind}) AS "{column}"'


def scan(path: Path, *, header: bool = True) -> str:
    """SQL that reads a file, or a folder of shards; the first line of CSV is a header or a row."""
    if path.is_dir():
        return f"read_parquet('{quoted(path)}/*.parquet')"
    if path.name.endswith(".parquet"):
        return f"read_parquet('{quoted(path)}')"
    return (  # all that could be guessed is given: notes hold lines that look like anything
        f"read_csv('{quoted(path)}', header = {header}, all_varchar = true, delim = ',',"
        " quote = '\"', escape = '\"', comment = '', skip = 0)"
    )


def quoted(path: Path) -> str:
    """A path inside the single quotes of SQL."""
    return str(path).replace("'", "''")


def _size(path: Path) -> int:
    files = [path] if path.is_file() else list(path.glob("*.parquet"))
    return sum(file.stat().st_size for file in files)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].removeprefix("IO Error: ").rstrip(".")
