"""Commands that need no model, and hence no torch: preparing and describing cohorts."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from remind.cohort import describe, unnamed_positive
from remind.pictures import upset_plot
from remind.sources import open_cohort
from remind.sources.manifest import flow_lines
from remind.sources.prepare import prepare


def prepare_cohort(source: str, out: Path, **options: Any) -> list[str]:
    """Write the cohort folder of a source; what is being read is told on stderr.

    Args:
        source: a key of `PREPARE`.
        out: the folder, new or empty.
        options: of the source; None leaves one at its default.

    Returns:
        The flow, what was done and what to do next, line by line.

    Raises:
        InputError: no such source or option, or `out` cannot be the folder.
    """
    given = {name: value for name, value in options.items() if value is not None}
    with _told():
        manifest = prepare(source, out, **given)
    return [*flow_lines(manifest), f"{source} is in {out}; next: remind describe {out}"]


def describe_cohort(
    cohort: str, plot: Path | None, tell: Callable[[str], object]
) -> dict[str, Any]:
    """What a cohort is made of; `plot` draws its combinations to a file.

    `tell` is told what was taken for granted about the label.

    Raises:
        InputError: the cohort cannot be read, or the picture cannot be written.
    """
    opened = open_cohort(cohort)
    if plot is not None:
        upset_plot(opened, plot)
    if note := unnamed_positive(opened):
        tell(note)
    return describe(opened)


@contextmanager
def _told() -> Iterator[None]:
    """Write what the sources log to stderr, a line each."""
    logger, handler = logging.getLogger("remind.sources"), logging.StreamHandler()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
