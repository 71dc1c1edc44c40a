"""How far long reading has come, on stderr: one line that moves on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

ON_TERMINAL, ELSEWHERE = 1.0, 30.0  # seconds between two messages; shorter work says nothing


def counted(items: Sequence[Any], step: int, what: str) -> Iterator[Sequence[Any]]:
    """Yield the items in parts of `step`, and say in between how many are done.

    Args:
        items: what is worked on.
        step: items of a part, >= 1.
        what: they are, as in "files read".
    """
    is_terminal = sys.stderr.isatty()
    every = ON_TERMINAL if is_terminal else ELSEWHERE
    last, has_said = time.monotonic(), False
    for start in range(0, len(items), step):
        yield items[start : start + step]
        done = min(start + step, len(items))
        if time.monotonic() - last < every and not (has_said and done == len(items)):
            continue
        end = "\r" if is_terminal and done < len(items) else "\n"
        print(f"{done:,} of {len(items):,} {what}", end=end, file=sys.stderr, flush=True)
        last, has_said = time.monotonic(), True
