"""Errors that are part of the interface: the user's input is wrong, said in one sentence."""

import difflib
from collections.abc import Iterable

INTERRUPTED = 130
"""Exit status of a process that was interrupted, as the shell has it, and typer on Ctrl-C."""


class InputError(ValueError):
    """The user's input is wrong: one sentence that says what, where and what to do.

    The command line prints it and exits with status 2; Python raises the same sentence.
    """


class InputWarning(UserWarning):
    """The user's input is accepted, but is probably not what was meant: one sentence.

    The command line prints it to stderr.
    """


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Return ``'; did you mean "a" or "b"?'`` with the nearest options, '' if none is near."""
    near = difflib.get_close_matches(name, list(options), n=3, cutoff=0.5)
    if not near:
        return ""
    return "; did you mean " + " or ".join(f'"{option}"' for option in near) + "?"
