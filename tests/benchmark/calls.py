"""A function that executors call; its module imports little, so that a process starts quickly."""

import os
import signal

from remind.errors import InputError


def divide(shared: float, by: float) -> tuple[float, int, str | None]:
    """A quotient, which process found it, and how many threads it has."""
    if by == 1:
        raise InputError("not by one")
    if by == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return shared / by, os.getpid(), os.environ.get("OMP_NUM_THREADS")
