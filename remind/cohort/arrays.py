"""Arrays that may be larger than memory: big ones live in a file that is gone with the process.

A big array is memory-mapped. Pages that were touched stay resident until `release`, which gives
them back to the system at once; what was written stays, in the file. Small arrays are plain.
"""

# N rows

import mmap
import tempfile
import weakref
from pathlib import Path

import numpy as np

from remind.cohort.store import cache_folder

BIG_BYTES = 8 << 20
"""Arrays from this size on live in a file."""
RESIDENT_BYTES = 512 << 20
"""Most bytes of files that gathering of rows keeps in memory."""
FAULT_BYTES = 2 << 20  # what the kernel maps around a byte that is touched: a large page

_mapped: list[weakref.ref] = []
_touched = 0


def new_array(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """An array to be filled: in memory, or in an unnamed file of the cache folder if it is big."""
    dtype = np.dtype(dtype)
    num_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if num_bytes < BIG_BYTES:
        return np.empty(shape, dtype)
    folder = cache_folder() / "work"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=Path(folder)) as file:
        file.truncate(num_bytes)
        pages = mmap.mmap(file.fileno(), num_bytes)
    _mapped[:] = [ref for ref in _mapped if ref() is not None]
    _mapped.append(weakref.ref(pages))
    return np.frombuffer(pages, dtype).reshape(shape)


def keep(values: np.ndarray) -> np.ndarray:
    """The same values, in a file if they are big."""
    if values.nbytes < BIG_BYTES:
        return values
    kept = new_array(values.shape, values.dtype)
    kept[...] = values
    release()
    return kept


def release() -> None:
    """Give the pages of all big arrays back; their content stays."""
    global _touched
    _touched = 0
    for ref in _mapped:
        pages = ref()
        if pages is not None and hasattr(pages, "madvise"):  # not on Windows
            pages.madvise(mmap.MADV_DONTNEED)


def gather(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Some rows of an array, copied; memory stays bounded however many are gathered."""
    global _touched
    if values.nbytes < BIG_BYTES:
        return values[rows]
    taken = np.empty((len(rows), *values.shape[1:]), values.dtype)
    for part in chunks(len(rows), max(RESIDENT_BYTES // FAULT_BYTES, 1)):
        taken[part] = values[rows[part]]
        _touched += min((part.stop - part.start) * FAULT_BYTES, values.nbytes)
        if _touched > RESIDENT_BYTES:
            release()
    return taken


def chunks(num_rows: int, size: int = 1 << 18) -> list[slice]:
    """Slices that cover the rows, one after the other."""
    return [slice(start, min(start + size, num_rows)) for start in range(0, num_rows, size)]
