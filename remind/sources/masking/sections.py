"""Sections of a TOML file, checked: what is wrong is one sentence."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from remind.errors import InputError, did_you_mean

Section = TypeVar("Section", bound=BaseModel)


def read_toml(file: Path, what: str) -> dict[str, Any]:
    """The content of a TOML file.

    Args:
        file: that should be there.
        what: it is, as in "a mask spec".

    Raises:
        InputError: it is absent, unreadable or no TOML.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise InputError(f"{file} {reason}: give {what}, a TOML file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 text: give {what}, a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{file} is not valid TOML: {error}") from error


def section(model: type[Section], data: Any, where: str) -> Section:
    """A checked section.

    Raises:
        InputError: it is no section, or a key is unknown, absent or wrong.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{where} must be a section of keys, got {data!r}")
    for key in data:
        if key not in model.model_fields:
            hint = did_you_mean(key, model.model_fields)
            hint = hint or f" (it may have {', '.join(model.model_fields)})"
            raise InputError(f'{where} has the unknown key "{key}"{hint}')
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        raise InputError(f"{where}: {_sentence(error)}") from error


def _sentence(error: ValidationError) -> str:
    """The first thing that pydantic found."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f'the key "{key}" is missing: add it'
    message = first["msg"].removeprefix("Value error, ").replace("Input should", "should")
    if first["type"] == "value_error":
        return f"{key} {message}".strip()
    return f"{key} {message}, got {first['input']!r}"
