"""Cohorts that can be made: a folder with its tables, files and cohort.toml."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remind.errors import InputError, did_you_mean
from remind.sources import toy_hospital

__all__ = ["PREPARE", "Preparation", "prepare"]


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How to fill an empty folder with a cohort, and the names of the options that this takes."""

    write: Callable[..., None]
    options: tuple[str, ...] = ()


PREPARE: dict[str, Preparation] = {
    "toy-hospital": Preparation(write=toy_hospital.write, options=toy_hospital.OPTIONS),
}


def prepare(name: str, out: str | Path, **options: Any) -> None:
    """Make the cohort folder of a source; it is there whole or not at all.

    Args:
        name: a key of `PREPARE`.
        out: the folder, which does not exist or is empty.
        options: of the source.

    Raises:
        InputError: no such source, an option that it does not take, or `out` cannot be the folder.
    """
    source = _find(name, options)
    out = Path(out).absolute()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        what = "is not empty" if out.is_dir() else "is a file"
        raise InputError(f"{out} {what}: give --out a folder that does not exist yet")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    except OSError as error:
        raise InputError(f"{out} cannot be made: {error.strerror}") from error
    try:
        temporary.chmod(0o755)
        source.write(temporary, **options)
        if out.exists():
            out.rmdir()
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _find(name: str, options: dict[str, Any]) -> Preparation:
    if name not in PREPARE:
        known = ", ".join(f'"{known}"' for known in PREPARE)
        hint = did_you_mean(name, PREPARE)
        raise InputError(f'no source "{name}" to prepare; there are {known}{hint}')
    source = PREPARE[name]
    for option in options:
        if option not in source.options:
            hint = did_you_mean(option, source.options)
            takes = ", ".join(source.options) or "none"
            raise InputError(f'"{name}" has no option "{option}"; it takes {takes}{hint}')
    return source
