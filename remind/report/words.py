"""Numbers and names in words: one way to write each, used by sentences, tables and figures."""

from collections.abc import Sequence
from typing import Any

UNDEFINED = "–"
Bounds = Sequence[float] | None


def number(value: float | None, digits: int = 3) -> str:
    """``0.867``, with a true minus sign; what is undefined is "–"."""
    if value is None:
        return UNDEFINED
    text = f"{value:.{digits}f}"
    return (text[1:] if float(text) == 0 and text[0] == "-" else text).replace("-", "−")


def signed(value: float | None, digits: int = 3) -> str:
    """``+0.012`` or ``−0.012``; a zero has no sign."""
    text = number(value, digits)
    return text if value is None or value < 0 or not float(text) else f"+{text}"


def bounds(ci: Bounds, digits: int = 3) -> str:
    """``0.849–0.886``; ``−0.003 to 0.027`` where a bound is negative; "" without an interval."""
    if not ci or any(bound is None for bound in ci):
        return ""
    low, high = (number(bound, digits) for bound in ci)
    return f"{low} to {high}" if "−" in low + high else f"{low}–{high}"


def signed_bounds(ci: Bounds, digits: int = 3) -> str:
    """``−0.003 to +0.027``; "" without an interval."""
    if not ci or any(bound is None for bound in ci):
        return ""
    return " to ".join(signed(bound, digits) for bound in ci)


def with_interval(value: float | None, ci: Bounds, digits: int = 3) -> str:
    """``0.867 (0.849–0.886)``, or that there is no interval."""
    if value is None:
        return "undefined"
    return f"{number(value, digits)} ({bounds(ci, digits) or 'no interval'})"


def signed_with_interval(value: float | None, ci: Bounds, digits: int = 3) -> str:
    """``+0.012 (−0.003 to +0.027)``, or that there is no interval."""
    if value is None:
        return "undefined"
    return f"{signed(value, digits)} ({signed_bounds(ci, digits) or 'no interval'})"


def percent(share: float | None, digits: int = 1) -> str:
    """``11.3%``."""
    return UNDEFINED if share is None else f"{number(100 * share, digits)}%"


def percent_with_interval(share: float | None, ci: Bounds, digits: int = 1) -> str:
    """``11.3% (9.9–12.8%)``, or that there is no interval."""
    if share is None:
        return "undefined"
    inside = bounds([100 * bound for bound in ci], digits) if ci else ""
    return f"{percent(share, digits)} ({inside + '%' if inside else 'no interval'})"


def count(num: float | None) -> str:
    """``1,821``."""
    return UNDEFINED if num is None else f"{num:,.0f}"


def patients(num: int) -> str:
    """``1 patient``, ``1,821 patients``."""
    return "1 patient" if num == 1 else f"{num:,} patients"


def plural(num: int, noun: str) -> str:
    """``1 combination``, ``3 combinations``."""
    return f"{num:,} {noun}" if num == 1 else f"{num:,} {noun}s"


def p_value(p: float | None) -> str:
    """``p = 0.012``, ``p < 0.001``; "no p-value" where there is none."""
    if p is None:
        return "no p-value"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def joined(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def side_of_zero(ci: Bounds) -> int:
    """1 if the interval lies above 0, -1 if below, 0 if it holds 0 or there is none."""
    if not ci:
        return 0
    return 1 if ci[0] > 0 else -1 if ci[1] < 0 else 0


def short_group(group: str, modalities: Sequence[str], width: int = 44) -> str:
    """A combination by what it lacks or has, whichever is shorter, cut to about `width` letters.

    Args:
        group: such as "labs+vitals".
        modalities: all of the cohort.
    """
    has = set(group.split("+"))
    lacks = [name for name in modalities if name not in has]
    if not lacks:
        return f"all {len(modalities)} modalities"
    inside = [name for name in modalities if name in has]
    start, names = ("without ", lacks) if len(lacks) <= len(inside) else ("only ", inside)
    shown = names[:1]
    for name in names[1:]:
        if len(start) + len(", ".join([*shown, name])) > width:
            break
        shown.append(name)
    more = len(names) - len(shown)
    text = start + ", ".join(cut(name, width) for name in shown)
    return text + (f" +{more} more" if more else "")


def cut(text: str, width: int) -> str:
    """The text, its end replaced by "…" where it is longer than `width`."""
    return text if len(text) <= width else text[: width - 1] + "…"


def plain(value: Any) -> str:
    """Any scalar of JSON or TOML as text."""
    if value is None:
        return UNDEFINED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value) if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    return str(value)
