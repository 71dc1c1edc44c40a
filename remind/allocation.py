"""Freed memory is kept for the next tensor, instead of being given back page by page."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
LARGEST_KEPT = 32 << 20  # bytes of an allocation that malloc serves itself: the most glibc takes
MOST_KEPT = 512 << 20  # bytes that are free at the end of the heap before some are given back


def keep_pages() -> None:
    """Let malloc keep what tensors of up to 32 MiB free, for this process.

    As it comes, glibc maps every tensor of some size anew, and the kernel clears its pages at first
    touch: a third of the time of a prediction on CPU, and what keeps its threads from running side
    by side (`benchmarks/inference.py`). It is a matter of the whole process, so only programs call
    it, not imports. Elsewhere than on glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(TRIM_THRESHOLD, MOST_KEPT)
