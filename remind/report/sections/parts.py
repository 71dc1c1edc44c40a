"""Parts of a diagnosis in sections: one run after the other, and what to do where one is absent."""

from collections.abc import Callable, Sequence
from typing import Any

from remind.report.blocks import Block, Cell, Column, Finding, Heading, Missing, Table, names
from remind.report.runs import ReportedRun
from remind.report.words import plain

Build = Callable[[ReportedRun, dict[str, Any], str], Sequence[Block]]
Say = Callable[[ReportedRun, dict[str, Any]], Sequence[Finding]]
UNEXPECTED = (KeyError, TypeError, ValueError, IndexError, AttributeError)
"""What reading a part of another layout ends in."""
MAX_SCALARS = 200


def blocks_of(runs: Sequence[ReportedRun], part: str, what: str, build: Build) -> list[Block]:
    """The blocks of every run; a line instead where the diagnosis lacks the part.

    Args:
        runs: all.
        part: key of diagnosis.json.
        what: the part is called, such as "Gradient consistency".
        build: run, part and a name for the page's ids to blocks.
    """
    blocks: list[Block] = []
    for position, run in enumerate(runs):
        if len(runs) > 1:
            blocks.append(Heading(run.label))
        found = run.part(part)
        if found is None:
            blocks.append(_absent(run, part, what))
            continue
        try:
            blocks += build(run, found, f"{part.replace('_', '-')}-{position}")
        except UNEXPECTED:
            blocks.append(scalars(found, f"{what} of {run.label}, as diagnosis.json has it"))
    return blocks


def findings_of(run: ReportedRun, part: str, say: Say) -> list[Finding]:
    """What is said about a part of a run; none where it is absent or of another layout."""
    found = run.part(part)
    if found is None:
        return []
    try:
        return list(say(run, found))
    except UNEXPECTED:
        return []


def scalars(part: dict[str, Any], caption: str) -> Table:
    """Every number, text and truth value of a nested object, by its path."""
    found = list(_flat(part, ""))
    note = "" if len(found) <= MAX_SCALARS else f"The first {MAX_SCALARS} of {len(found):,} values."
    return Table(
        caption=caption,
        columns=[Column("Name", is_number=False), Column("Value")],
        rows=[
            [names(path), Cell(plain(value), value if isinstance(value, int | float) else None)]
            for path, value in found[:MAX_SCALARS]
        ],
        note=note,
    )


def _absent(run: ReportedRun, part: str, what: str) -> Missing:
    command = f"remind diagnose {run.path}"
    if why := run.why_not(part):
        return Missing(f"{what} of {run.label} is not shown: {why}")
    if run.diagnosis:
        return Missing(f"The diagnosis of {run.label} lacks this part; make it again with", command)
    return Missing(f"{what} of {run.label} is not known yet; find out with", command)


def _flat(value: Any, path: str) -> Any:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{position}]")
    else:
        yield path, value
