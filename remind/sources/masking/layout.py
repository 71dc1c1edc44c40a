"""Which tables a cohort has, where their modalities are in them, and cohort.toml with new names."""

import re
import tomllib
from collections.abc import Mapping
from itertools import chain, count
from pathlib import Path
from typing import Any

import tomli_w

from remind.cohort import CohortSpec
from remind.cohort.schema import FILE_NAME
from remind.cohort.tables import find_files, suffix_of


def table_files(spec: CohortSpec) -> set[Path]:
    """All tables of a cohort."""
    patterns = [spec.cohort.table, *spec.long_tables]
    return {file for pattern in patterns for file in find_files(pattern, spec.root)}


def id_column(spec: CohortSpec, modality: str) -> str:
    """The patient's column of a long table."""
    return getattr(spec.modalities[modality], "id", None) or spec.cohort.id


def places(
    spec: CohortSpec, pattern: str, folder: Path, name: str, *, is_shared: bool = False
) -> tuple[dict[Path, Path], str]:
    """Where the files of a table are, and where those of a changed one go.

    Args:
        spec: of the cohort.
        pattern: path or glob of the table.
        folder: of the changed cohort.
        name: whose the changed table is.
        is_shared: whether others go on with the table as it is, or changed otherwise.

    Returns:
        file -> file of the changed table, and the pattern of the latter: the same below the
        cohort's own folder, or else, and if shared, in a folder of `name`.
    """
    files = find_files(pattern, spec.root)
    is_below = not Path(pattern).is_absolute() and ".." not in Path(pattern).parts
    if is_below and not is_shared:
        return {file: folder / file.relative_to(spec.root) for file in files}, pattern
    own, suffix = own_folder(folder, name), suffix_of(files[0])
    if len(files) == 1:
        return {files[0]: folder / own / files[0].name}, f"{own}/{files[0].name}"
    targets = {
        file: folder / own / f"{n:03d}-{file.name[: -len(suffix)]}{suffix}"
        for n, file in enumerate(files)
    }
    return targets, f"{own}/*{suffix}"


def own_folder(folder: Path, name: str) -> str:
    """A new folder in a folder for the tables of a modality, whatever signs are in its name."""
    plain = plain_name(name)
    tries = chain([plain], (f"{plain}-{number}" for number in count(2)))
    return next(own for own in tries if not (folder / own).exists())


def plain_name(name: str) -> str:
    """The name without signs that mean something in a path or a pattern."""
    return re.sub(r"[^\w-]", "_", name)


def read_content(spec: CohortSpec) -> dict[str, Any]:
    """The content of cohort.toml as it is written."""
    return tomllib.loads(Path(spec.source).read_text(encoding="utf-8-sig"))


def write_content(folder: Path, content: Mapping[str, Any]) -> None:
    """Write cohort.toml."""
    (folder / FILE_NAME).write_text(tomli_w.dumps(content), encoding="utf-8")
