"""Checks of configuration values, with errors that say what was wrong with which value."""

from collections.abc import Iterable

from remind.errors import InputError, did_you_mean


def check_at_least(minimum: float, **values: float) -> None:
    """Raise InputError if one of the named values is below the minimum."""
    for name, value in values.items():
        if not value >= minimum:
            raise InputError(f"{name} must be at least {minimum}, got {value}")


def check_one_of(options: Iterable[str], **values: str) -> None:
    """Raise InputError if one of the named values is not among the options."""
    names = list(options)
    for name, value in values.items():
        if value not in names:
            known = ", ".join(names)
            hint = did_you_mean(value, names)
            raise InputError(f'{name} must be one of {known}, got "{value}"{hint}')
