"""What a page is made of: sections of blocks. The template knows these and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Args:
        text: what is read.
        sort: what it is sorted by; None sorts last. The text itself if it is no number.
        detail: in smaller print after the text, such as an interval.
    """

    text: str
    sort: float | str | None = None
    detail: str = ""


@dataclass(frozen=True)
class Column:
    """A column: its title, and whether its cells are numbers, which are aligned to the right."""

    title: str
    is_number: bool = True


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table whose first column heads its rows; sortable where a script may run.

    Args:
        caption: distinct on the page.
        columns, rows: of cells, as many in each row as columns.
        note: below it.
        is_long: gets a window of its own to scroll in.
        is_folded: shown on demand.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    is_long: bool = False
    is_folded: bool = False


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture with its caption and the numbers in it.

    Args:
        title: in a few words.
        caption: how to read it.
        svg: from `remind.report.svg`, which is safe.
        table: the same figures as a table.
        is_wide: needs the whole width.
    """

    kind: ClassVar[str] = "figure"
    title: str
    caption: str
    svg: Markup
    table: Table | None = None
    is_wide: bool = False


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Points:
    """Sentences, one below the other."""

    kind: ClassVar[str] = "points"
    texts: Sequence[str]


@dataclass(frozen=True)
class Heading:
    """A heading below that of the section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Missing:
    """Something that is not there, and the command that makes it, "" if none does."""

    kind: ClassVar[str] = "missing"
    text: str
    command: str = ""


@dataclass(frozen=True)
class Facts:
    """Terms and what they are."""

    kind: ClassVar[str] = "facts"
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Step:
    """A step of a flow: how many are left, after what, and how many it took away."""

    num_left: str
    text: str
    took: str = ""


@dataclass(frozen=True)
class Flow:
    """The steps of a flow, one after the other."""

    kind: ClassVar[str] = "flow"
    steps: Sequence[Step]


@dataclass(frozen=True)
class Side:
    """Blocks side by side, where there is room."""

    kind: ClassVar[str] = "side"
    blocks: Sequence["Block"]


Block = Table | Figure | Text | Points | Heading | Missing | Facts | Flow | Side


@dataclass(frozen=True)
class Finding:
    """What a section found, for the top of the page: a verdict, and the figures it rests on."""

    verdict: str
    evidence: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page.

    Args:
        id: of its heading, for links.
        title: of it.
        lead: what it says, in one or two sentences.
        blocks: what shows it.
        summary: findings that belong at the top of the page.
    """

    id: str
    title: str
    lead: str = ""
    blocks: Sequence[Block] = ()
    summary: Sequence[Finding] = ()


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A figure that is seen first: its name, value, interval and what it rests on."""

    name: str
    value: str
    interval: str
    note: str


def numbers(text: str, value: float | None, detail: str = "") -> Cell:
    """A cell that is sorted by its value."""
    return Cell(text, value, detail)


def names(text: str) -> Cell:
    """A cell that is sorted by its text."""
    return Cell(text, text.casefold())
