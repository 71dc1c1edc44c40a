"""Locks: one process at a time fills a folder."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from remind.errors import InputError


@contextmanager
def alone(
    out: Path, program: str, option: str, *, file: Path | None = None, seconds: float = 0
) -> Iterator[None]:
    """Hold the lock of a folder; a killed process lets go of it.

    Args:
        out: the folder, which need not exist.
        program: who fills it, such as "remind prepare".
        option: that names another folder, such as "--out".
        file: that is locked; a hidden one beside the folder if None.
        seconds: to wait for a process that is about to end.

    Raises:
        InputError: another process holds it, or the folder of `out` cannot be made.
    """
    out = out.absolute()
    path = out.parent / f".{out.name}.lock" if file is None else file
    lock = FileLock(path, timeout=seconds)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"another {program} is filling {out}: wait until it is done, "
            f"or give {option} another folder"
        ) from error
    except OSError as error:
        raise InputError(f"{out} cannot be made: {error.strerror}") from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows keeps a file that is open
            path.unlink(missing_ok=True)  # while it is held: nobody else is let in before
        lock.release()
