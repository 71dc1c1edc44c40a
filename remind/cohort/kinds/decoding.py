"""Files to records in a store, each distinct content once."""

# V files

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from remind.cohort.counting import counted
from remind.cohort.formats import FormatError, decoding
from remind.cohort.store import ContentKeys, RecordStore

CHUNK_FILES = 64  # that a killed run decodes again at most
MOST_THREADS = 8
READERS = r"pydicom|PIL|nibabel|wfdb"


@dataclass(frozen=True, kw_only=True, eq=False)
class FileDecoder:
    """What makes records of files.

    Args:
        store: for the records; its name says how they are made.
        parts: path -> the files that it stands for, such as those of a DICOM series.
        decode: path -> record and facts.
    """

    store: RecordStore
    parts: Callable[[Path], list[Path]]
    decode: Callable[[Path], tuple[np.ndarray, dict[str, Any]]]

    def keys(self, paths: Sequence[Path]) -> Iterator[str | FormatError]:
        """The key of the record of each path, made if need be, or why there is none."""
        digests = ContentKeys()
        for some in counted(paths, CHUNK_FILES, "files read"):
            yield from self._chunk(digests, some)

    def _chunk(self, digests: ContentKeys, paths: Sequence[Path]) -> list[str | FormatError]:
        with _without_warnings():
            keys = self._keys(digests, paths)
            first = {
                key: path for path, key in zip(paths, keys, strict=True) if isinstance(key, str)
            }
            is_new = self.store.find(list(first)) < 0
            fresh = [key for key, new in zip(first, is_new.tolist(), strict=True) if new]
            with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool:
                decoded = list(pool.map(self._decode, [first[key] for key in fresh]))
        made = dict(zip(fresh, decoded, strict=True))
        good = {key: item for key, item in made.items() if not isinstance(item, FormatError)}
        if good:
            records, facts = zip(*good.values(), strict=True)
            self.store.add(list(good), records, [json.dumps(item) for item in facts])
        failed = {key: item for key, item in made.items() if isinstance(item, FormatError)}
        return [failed.get(key, key) if isinstance(key, str) else key for key in keys]

    def _keys(self, digests: ContentKeys, paths: Sequence[Path]) -> list[str | FormatError]:
        """The digest of the content of each path, all in one transaction if nothing is wrong."""
        try:
            parts = [self.parts(path) for path in paths]
            flat = iter(digests.of([part for some in parts for part in some]))
        except (FormatError, OSError) as error:
            if len(paths) == 1:
                return [_refusal(error)]
            return [key for path in paths for key in self._keys(digests, [path])]
        return [_joined([next(flat) for _ in some]) for some in parts]

    def _decode(self, path: Path) -> tuple[np.ndarray, dict[str, Any]] | FormatError:
        try:
            with decoding():
                return self.decode(path)
        except FormatError as error:
            return error


def _refusal(error: FormatError | OSError) -> FormatError:
    if isinstance(error, FormatError):
        return error
    if isinstance(error, FileNotFoundError):
        return FormatError("does not exist: correct the path, or leave the cell empty")
    return FormatError(f"cannot be read: {error.strerror}")


def _joined(digests: Sequence[str]) -> str:
    """One digest of several files."""
    if len(digests) == 1:
        return digests[0]
    return hashlib.blake2b("".join(digests).encode(), digest_size=16).hexdigest()


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Without the warnings of readers: a file is used or refused, and a refusal says why."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=READERS)
        yield
