"""Where cohorts come from: built-in sources by name, everything else by path."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remind.cohort import Cohort, read_cohort
from remind.errors import InputError, did_you_mean
from remind.sources import support2, synthetic

__all__ = ["SOURCES", "Source", "load_source", "open_cohort"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A built-in source: how to load it, and the names of the options that loading takes."""

    load: Callable[..., Cohort]
    options: tuple[str, ...] = ()


SOURCES: dict[str, Source] = {
    "support2": Source(load=support2.load),
    "synthetic": Source(load=synthetic.load, options=synthetic.OPTIONS),
}


def load_source(name: str, **options: Any) -> Cohort:
    """Return the built-in cohort ``name``.

    Raises:
        InputError: no such source, or an option that it does not take.
    """
    if name not in SOURCES:
        raise InputError(f'no built-in source "{name}"; {_built_in()}{did_you_mean(name, SOURCES)}')
    known = SOURCES[name].options
    for option in options:
        if option not in known:
            takes = f"takes {_listed(known)}" if known else "takes no options"
            hint = did_you_mean(option, known)
            raise InputError(f'source "{name}" has no option "{option}"; it {takes}{hint}')
    return SOURCES[name].load(**options)


def open_cohort(name_or_path: str | Path) -> Cohort:
    """Return a built-in cohort by name, or the one at a path (cohort.toml or its folder).

    The name of a built-in source wins; write ``./support2`` for a folder of that name.

    Raises:
        InputError: neither a built-in source nor an existing path, or the cohort is invalid.
    """
    name = str(name_or_path)
    if isinstance(name_or_path, str) and name in SOURCES:
        return load_source(name)
    if Path(name_or_path).exists():
        return read_cohort(Path(name_or_path))
    hint = did_you_mean(name, SOURCES)
    raise InputError(f'no cohort "{name}": it is no file or folder, and {_built_in()}{hint}')


def _built_in() -> str:
    return f"the built-in sources are {_listed(SOURCES)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
