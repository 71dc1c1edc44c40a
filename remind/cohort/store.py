"""Records kept on disk under the content that they were made of: decoded files, frozen features.

A cache that survives the process: what was made once is found again by its key, whatever cohort
asks, and a killed run goes on where it was. It may be deleted at any time.
"""

# V records

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

READ_BYTES = 1 << 20


def cache_folder() -> Path:
    """$REMIND_CACHE, or remind in the user's cache folder."""
    named = os.environ.get("REMIND_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "remind"


class ContentKeys:
    """Digests of files, computed once per path, size and time of change.

    Args:
        folder: of the cache; made if need be.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.file = (folder or cache_folder()) / "files.sqlite"
        with _open(self.file) as database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS files "
                "(path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, digest TEXT)"
            )

    def of(self, paths: Sequence[Path]) -> list[str]:
        """The digest of each file's content.

        Raises:
            OSError: a file cannot be read.
        """
        with _open(self.file) as database:
            return [self._digest(database, path) for path in paths]

    def _digest(self, database: sqlite3.Connection, path: Path) -> str:
        status, name = path.stat(), str(path.absolute())
        seen = (status.st_size, status.st_mtime_ns)
        row = database.execute(
            "SELECT size, changed, digest FROM files WHERE path = ?", (name,)
        ).fetchone()
        if row is not None and row[:2] == seen:
            return row[2]
        digest = _digest_of(path)
        database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", (name, *seen, digest))
        return digest


class RecordStore:
    """Arrays of one shape and type, by key. Several processes may add to one store.

    Args:
        name: of what the records are and how they were made; another name, another store.
        shape: of a record.
        dtype: of a record.
        folder: of the cache; made if need be.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype | type,
        folder: Path | None = None,
    ) -> None:
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        identity = f"{name}\x1f{self.shape}\x1f{self.dtype.str}"
        digest = hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
        self.folder = (folder or cache_folder()) / digest
        self.data = self.folder / "records.bin"
        self.index = self.folder / "index.sqlite"
        with _open(self.index) as database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS records "
                "(key TEXT PRIMARY KEY, place INTEGER UNIQUE, facts TEXT)"
            )

    @property
    def record_bytes(self) -> int:
        """Size of a record."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def find(self, keys: Sequence[str]) -> np.ndarray:
        """Place of the record of each key, int64; -1 where there is none."""
        query = "SELECT place FROM records WHERE key = ?"
        with _open(self.index) as database:
            rows = [database.execute(query, (key,)).fetchone() for key in keys]
        return np.array([-1 if row is None else row[0] for row in rows], dtype=np.int64)

    def add(
        self,
        keys: Sequence[str],
        records: Sequence[np.ndarray],
        facts: Sequence[str] | None = None,
    ) -> None:
        """Keep the records of keys; those that are there already are left as they are.

        Args:
            keys: of the records.
            records: of the shape of the store.
            facts: a text to keep beside each record.
        """
        with _open(self.index) as database:
            database.execute("BEGIN IMMEDIATE")  # one writer at a time; the data comes first
            (place,) = database.execute(
                "SELECT COALESCE(MAX(place) + 1, 0) FROM records"
            ).fetchone()
            with self.data.open("r+b" if self.data.exists() else "w+b") as file:
                file.seek(place * self.record_bytes)
                for key, record, fact in zip(
                    keys, records, facts or [None] * len(keys), strict=True
                ):
                    array = np.ascontiguousarray(record, dtype=self.dtype)
                    assert array.shape == self.shape
                    added = database.execute(
                        "INSERT OR IGNORE INTO records VALUES (?, ?, ?)", (key, place, fact)
                    )
                    if added.rowcount:
                        file.write(array.tobytes())
                        place += 1
                file.flush()
                os.fsync(file.fileno())

    def facts(self, keys: Sequence[str]) -> list[str | None]:
        """The text beside the record of each key."""
        query = "SELECT facts FROM records WHERE key = ?"
        with _open(self.index) as database:
            rows = [database.execute(query, (key,)).fetchone() for key in keys]
        return [None if row is None else row[0] for row in rows]

    def read(self, places: np.ndarray) -> np.ndarray:
        """The records (V, *shape) at some places."""
        if len(places) == 0:
            return np.empty((0, *self.shape), self.dtype)
        num = self.data.stat().st_size // self.record_bytes
        return np.memmap(self.data, self.dtype, "r", shape=(num, *self.shape))[places]


@contextmanager
def _open(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection that commits at the end, and takes everything back after an error."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file, timeout=600)) as database, database:
        yield database


def _digest_of(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
