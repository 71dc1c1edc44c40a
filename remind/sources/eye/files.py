"""The files of each row: named by columns, or found by a pattern."""

import fnmatch
import glob
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from remind.cohort.kinds.paths import SEPARATOR
from remind.sources.eye.layout import PLACE, FilePart
from remind.sources.eye.rows import Rows

WILD = re.compile(r"[*?\[]")
DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, kw_only=True, eq=False)
class FilesOfRows:
    """The files of a modality.

    Args:
        paths: position of a row → its files.
        missing: position of a row and path, for each file that is named and not there.
        is_pattern: whether they were found rather than named.
    """

    paths: dict[int, list[Path]]
    missing: list[tuple[int, str]]
    is_pattern: bool


def find_files_of_rows(part: FilePart, kind: str, root: Path, rows: Rows) -> FilesOfRows:
    """The files of the rows that are in.

    Args:
        part: where they are.
        kind: "image", or "volume", which may be a folder of slices.
        root: absolute.
        rows: of the table.
    """
    folder, missing = root / part.folder, []
    found: dict[int, list[Path]] = {row: [] for row in rows.order}
    if part.pattern is None:
        for row, name in _named(part, rows):
            path = folder / name
            if path.is_file() or (kind == "volume" and path.is_dir()):
                found[row].append(path)
            else:
                missing.append((row, str(path)))
    else:
        listing = _Listing()
        texts = {name: rows.text(name) for name in part.placeholders if name != "id"}
        for row in rows.order:
            values = {"id": rows.ids[row], **{name: text[row] for name, text in texts.items()}}
            given = {name: value for name, value in values.items() if value is not None}
            if len(given) == len(values):
                matches = listing.matches(folder, part.pattern.split("/"), given)
                found[row] = [path for path in matches if path.is_file() or kind == "volume"]
    paths = {row: _spaced(files, part.most) for row, files in found.items()}
    return FilesOfRows(paths=paths, missing=missing, is_pattern=part.pattern is not None)


def _named(part: FilePart, rows: Rows) -> Iterator[tuple[int, str]]:
    """Position of a row, and a path that one of its cells names."""
    for column in part.columns:
        texts = rows.text(column)
        for row in rows.order:
            for name in (texts[row] or "").split(SEPARATOR):
                if name.strip():
                    yield row, name.strip()


class _Listing:
    """Names in folders, listed once each, so that a pattern per row stays cheap."""

    def __init__(self) -> None:
        self._names: dict[Path, list[str]] = {}

    def matches(self, folder: Path, parts: list[str], values: Mapping[str, str]) -> list[Path]:
        """The paths below a folder that match the parts of a pattern, in natural order."""
        if not parts:
            return [folder] if folder.exists() else []
        first, rest = parts[0], parts[1:]
        if not WILD.search(first):
            return self.matches(folder / _filled(first, values), rest, values)
        escaped = {name: glob.escape(value) for name, value in values.items()}
        is_match = re.compile(fnmatch.translate(_filled(first, escaped))).match
        start = _filled(WILD.split(first, maxsplit=1)[0], values)
        names = [name for name in self._starting(folder, start) if is_match(name)]
        return [
            path
            for name in sorted(names, key=_natural)
            for path in self.matches(folder / name, rest, values)
        ]

    def _starting(self, folder: Path, start: str) -> Iterator[str]:
        """The names in a folder that start so; hidden ones only if asked for."""
        if folder not in self._names:
            is_there = folder.is_dir()
            self._names[folder] = sorted(p.name for p in folder.iterdir()) if is_there else []
        names = self._names[folder]
        for place in range(bisect_left(names, start), len(names)):
            if not names[place].startswith(start):
                return
            if start or not names[place].startswith("."):
                yield names[place]


def _filled(text: str, values: Mapping[str, str]) -> str:
    """A part of a pattern with the values of a row in place of {names}."""
    return PLACE.sub(lambda place: values[place.group(1)], text)


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts 2.png before 10.png."""
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in DIGITS.split(name)]


def _spaced(files: list[Path], most: int | None) -> list[Path]:
    """At most so many of the files: the middle of each of as many equal parts."""
    if most is None or len(files) <= most:
        return files
    return [files[int((part + 0.5) * len(files) / most)] for part in range(most)]
