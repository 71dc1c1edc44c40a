"""One self-contained page about a run: whom it serves, whom not, and why. Knows no torch."""

from remind.report.write import write_report

__all__ = ["write_report"]
