"""Cohorts that can be made: a folder with its tables, files, cohort.toml and manifest.json."""

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ENOSPC
from pathlib import Path
from typing import Any

from remind.errors import InputError, did_you_mean
from remind.lock import alone
from remind.sources import eicu, embed, eye, mimic_iv, physionet2012, toy_hospital
from remind.sources.manifest import Manifest
from remind.sources.masking import MaskSpec, apply, existing, load_mask

__all__ = ["PREPARE", "Preparation", "prepare"]

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How to fill an empty folder with a cohort, and the names of the options that this takes."""

    write: Callable[..., Manifest]
    options: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    """Options without a default."""


PREPARE: dict[str, Preparation] = {
    "cohort": Preparation(write=existing.write, options=existing.OPTIONS, needs=("root",)),
    "eicu": Preparation(write=eicu.write, options=eicu.OPTIONS, needs=("root",)),
    "embed": Preparation(write=embed.write, options=embed.OPTIONS, needs=("root",)),
    "eye": Preparation(write=eye.write, options=eye.OPTIONS, needs=("root",)),
    "mimic-iv": Preparation(write=mimic_iv.write, options=mimic_iv.OPTIONS, needs=("root",)),
    "physionet2012": Preparation(
        write=physionet2012.write, options=physionet2012.OPTIONS, needs=("root",)
    ),
    "toy-hospital": Preparation(write=toy_hospital.write, options=toy_hospital.OPTIONS),
}


def prepare(
    name: str, out: str | Path, *, mask: Path | MaskSpec | None = None, **options: Any
) -> Manifest:
    """Make the cohort folder of a source; it is there whole or not at all.

    What is being read is told to the logger "remind.sources", a line each, at the level INFO.

    What a killed preparation left beside `out` is cleared away by the next one; while one is at
    work, another one to the same folder is refused.

    Args:
        name: a key of `PREPARE`.
        out: the folder, which does not exist or is empty.
        mask: what to hide on purpose, or the TOML file that says so.
        options: of the source.

    Returns:
        What was done, as `out`/manifest.json holds it.

    Raises:
        InputError: no such source, an option that it does not take or lacks, or `out` cannot be the
            folder, or somebody is filling it, or what the source refuses, or the mask does not fit.
    """
    source = _find(name, options)
    mask = load_mask(mask) if isinstance(mask, Path) else mask
    out = Path(out).absolute()
    _check_free(out)
    with alone(out, "remind prepare", "--out"), _unfinished(out) as temporary:
        _check_free(out)  # another preparation may have ended since
        manifest = source.write(temporary, **options)
        if mask is not None:
            LOG.info("masking the cohort")
            apply(temporary, mask, manifest)
        manifest.write(temporary)
        if out.exists():
            out.rmdir()
        temporary.rename(out)
    return manifest


def _check_free(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        what = "is not empty" if out.is_dir() else "is a file"
        raise InputError(f"{out} {what}: give --out a folder that does not exist yet")


@contextmanager
def _unfinished(out: Path) -> Iterator[Path]:
    """An empty hidden folder beside `out`, which is gone in the end unless it was renamed."""
    temporary = out.parent / f".{out.name}.unfinished"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
    except OSError as error:
        raise InputError(f"{out} cannot be made: {error.strerror}") from error
    try:
        yield temporary
    except OSError as error:
        if error.errno != ENOSPC:
            raise
        remedy = "free some, or write --out elsewhere"
        raise InputError(f"no space is left on the disk of {out}: {remedy}") from error
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
    for option in source.needs:
        if option not in options:
            raise InputError(f'"{name}" needs --{option}: it says where the raw files are')
    return source
