"""The command line, called in this process."""

import sys

import pytest

from remind.cli import main


def remind(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Call `remind` with arguments and return its exit status."""
    monkeypatch.setattr(sys, "argv", ["remind", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert isinstance(stop.value.code, int)
    return stop.value.code
