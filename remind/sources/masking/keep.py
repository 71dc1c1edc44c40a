"""The modalities that a cohort keeps: some of its own, several of one kind joined to one."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from remind.cohort.columns import is_text
from remind.cohort.tables import column_names, find_files, suffix_of
from remind.errors import InputError, did_you_mean
from remind.sources.masking.layout import own_folder, plain_name
from remind.sources.masking.tables import is_csv, rewrite, with_text

Sections = Mapping[str, Mapping[str, Any]]


def keep_modalities(
    sections: Sections, keep: Mapping[str, Sequence[str]], folder: Path
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The sections `[modalities.<name>]` of a cohort with fewer modalities.

    Tabular ones are joined by their columns, those in long tables by putting their tables side by
    side, as shards, into a folder of the cohort; a column that is text in one of them becomes text
    in all.

    Args:
        sections: of the cohort.
        keep: name -> modalities that become this one; "*" stands for any letters.
        folder: of the cohort.

    Returns:
        The sections, and a sentence for each name that the cohort does not have.

    Raises:
        InputError: the cohort has none that becomes a modality, one is taken twice, or they do not
            join.
    """
    taken: dict[str, str] = {}
    kept, notes = {}, []
    for name, patterns in keep.items():
        found = {pattern: _matches(pattern, sections) for pattern in patterns}
        members = [member for matches in found.values() for member in matches]
        lacking = ", ".join(f'"{pattern}"' for pattern, matches in found.items() if not matches)
        if not members:
            hint = did_you_mean(patterns[0], sections) or f" (it has {', '.join(sections)})"
            raise InputError(
                f"the mask: [keep] {name}: no modality of the cohort is {lacking}{hint}"
            )
        if lacking:
            notes.append(f"the mask: {name} is without {lacking}, which the cohort does not have")
        for member in members:
            if member in taken:
                raise InputError(
                    f'the mask: [keep] has "{member}" in {taken[member]} and in {name}: '
                    "leave it in one of them"
                )
            taken[member] = name
        if len(members) == 1:
            kept[name] = dict(sections[members[0]])
        else:
            kept[name] = _joined(name, {member: sections[member] for member in members}, folder)
    return kept, notes


def _matches(pattern: str, sections: Sections) -> list[str]:
    return [member for member in sections if fnmatchcase(member, pattern)]


def _joined(name: str, members: Sections, folder: Path) -> dict[str, Any]:
    first = next(iter(members.values()))
    for member, section in members.items():
        differing = [
            key
            for key in {**first, **section}
            if key not in ("columns", "table") and section.get(key) != first.get(key)
        ]
        if differing:
            raise InputError(
                f"the mask: [keep] {name} joins modalities that differ in {differing[0]} "
                f"({next(iter(members))} and {member}): join those that are alike"
            )
    if first["kind"] == "tabular":
        columns = [column for section in members.values() for column in section["columns"]]
        return {**first, "columns": columns}
    if "table" not in first:
        raise InputError(
            f"the mask: [keep] {name} joins {' and '.join(members)}, which have a column each: "
            "only tabular modalities and those with tables of their own can be joined"
        )
    return {**first, "table": _side_by_side(name, members, folder)}


def _side_by_side(name: str, members: Sections, folder: Path) -> str:
    """Put the tables of several modalities into one folder; the pattern of its files.

    Raises:
        InputError: they are of several formats, or have other columns or types that do not fit.
    """
    files = [
        (member, file)
        for member, section in members.items()
        for file in find_files(section["table"], folder)
    ]
    suffixes = {suffix_of(file) for _, file in files}
    if len(suffixes) > 1:
        raise InputError(
            f"the mask: [keep] {name} joins {' and '.join(sorted(suffixes))} tables: "
            "only tables of one format can be joined"
        )
    column_names([file for _, file in files])
    suffix, own = suffixes.pop(), own_folder(folder, name)
    columns = [] if is_csv(files[0][1]) else _text_columns(name, [file for _, file in files])
    edit = with_text(columns) if columns else None
    for number, (member, file) in enumerate(files):
        rewrite(file, folder / own / f"{number:03d}-{plain_name(member)}{suffix}", edit)
    return f"{own}/*{suffix}"


def _text_columns(name: str, files: Sequence[Path]) -> list[str]:
    """The columns of Parquet files that are text in some and something else in others."""
    schemas = [pq.read_schema(file) for file in files]
    types: dict[str, set[pa.DataType]] = {}
    for schema in schemas:
        for field in schema:
            types.setdefault(field.name, set()).add(field.type)
    columns = [
        column for column, kinds in types.items() if len(kinds) > 1 and any(map(is_text, kinds))
    ]
    others = [pa.schema([f for f in schema if f.name not in columns]) for schema in schemas]
    try:
        pa.unify_schemas(others, promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(
            f"the mask: [keep] {name} joins tables that do not fit together ({error}): "
            "join those that are alike"
        ) from error
    return columns
