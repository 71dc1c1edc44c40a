"""Locks: one process at a time fills a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from remind.errors import InputError


@contextmanager
def alone(out: Path, program: str, option: str) -> Iterator[None]:
    """Hold the lock of a folder, a hidden file beside it; a killed process lets go of it.

    Args:
        out: the folder, which need not exist.
        program: who fills it, such as "remind prepare".
        option: that names another folder, such as "--out".

    Raises:
        InputError: another process holds it, or the folder of `out` cannot be made.
    """
    out = out.absolute()
    path = out.parent / f".{out.name}.lock"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise InputError(f"{out} cannot be made: {error.strerror}") from error
    try:
        if not _is_held(lock, path):
            raise InputError(
                f"another {program} is filling {out}: wait until it is done, "
                f"or give {option} another folder"
            )
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # while it is held: nobody else is let in before
    finally:
        os.close(lock)


def _is_held(lock: int, path: Path) -> bool:
    """Try to hold an open file; it does not count if it is no longer the one at its path."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks
    try:
        return os.path.samestat(path.stat(), os.fstat(lock))
    except FileNotFoundError:
        return False
