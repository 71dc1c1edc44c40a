"""Text that is no category though it is no number either: dates, and numbers in disguise.

What all values of a column look like decides, but for signs of no value. A number with a unit, or
a limit of detection, may be a category ("5 mg", "<65") as long as there are few of them.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute

from remind.cohort.tables import MISSING_TEXT

pc: Any = pyarrow.compute  # its functions are made at import time, unknown to type checkers

MISSING_MARKS = (".", "-", "?", "N/A", "n/a", "#N/A", "None", "none", *MISSING_TEXT)

FEW_LEVELS = 30
"""More distinct numbers than this are measured ones."""
FEW_DECIMALS = 10
"""The same where some have decimals."""
DECIMALS = r"\d*[.,]\d*[1-9]"

DAY, MONTH = r"(0?[1-9]|[12]\d|3[01])", r"(0?[1-9]|1[0-2])"
DAY_2, MONTH_2 = r"(0[1-9]|[12]\d|3[01])", r"(0[1-9]|1[0-2])"
NAME = (
    r"(?i:jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?"
    r"|oct(ober)?|nov(ember)?|dec(ember)?)"
)
DATES = (
    r"\d{4}-\d{2}-\d{2}",  # 1961-01-16
    r"\d{4}[/.]\d{1,2}[/.]\d{1,2}",
    *(  # 16.01.1961 and 1/16/1961
        rf"({DAY}{sign}{MONTH}|{MONTH}{sign}{DAY}){sign}\d{{4}}" for sign in ("[.]", "/", "-")
    ),
    *(rf"({DAY_2}{sign}{MONTH_2}|{MONTH_2}{sign}{DAY_2}){sign}\d{{2}}" for sign in ("[.]", "-")),
    rf"({DAY}/{MONTH}|{MONTH}/{DAY})/\d{{2}}",
    rf"{DAY}[ ./-]?{NAME}[ .,/-]*(\d{{2}}|\d{{4}})",  # 16JAN1961, 16-Jan-61
    rf"{NAME}[ .]*{DAY},? *\d{{4}}",  # Jan 16, 1961
)
DATE = rf"^({'|'.join(DATES)})([ T,:].*)?$"

LIMIT = r"([<>]=?|[≤≥])\s*"
NUMBER = rf"({LIMIT})?[+-]?\d[\d.,]*([eE][+-]?\d+)?"
BETWEEN = r"[., '’\x{a0}\x{202f}]"  # thousands
CLOCK = r"^([01]?\d|2[0-4]):[0-5]\d(:[0-5]\d([.,]\d+)?)?( ?(?i:[ap]\.?m\.?))?$"
YEAR_AND_MONTH = rf"^(\d{{4}}[/.-]{MONTH_2}|{MONTH_2}[/.-]\d{{4}}|{NAME}[ ./-]?(\d{{2}}|\d{{4}}))$"
NOT_CATEGORIES = (  # what all values look like, what one does at least, and what they are
    (DATE, DATE, "dates; give a number instead, such as hours since admission"),
    (
        rf"^({LIMIT})?[+-]?\d+([.,]\d+)?$",
        r",(\d{1,2}|\d{4,})$|^[+-]?0,",
        "numbers with a decimal comma; write them with a point",
    ),
    (
        rf"^({LIMIT})?[+-]?(\d+|\d{{1,3}}({BETWEEN}\d{{3}})+)([.,]\d+)?$",
        rf"\d{BETWEEN}\d{{3}}(\D|$)",
        "numbers with signs between thousands; write them without, and decimals with a point",
    ),
)
MANY_NOT_CATEGORIES = (  # the same where there are more than FEW_LEVELS: a few may name shifts
    (CLOCK, "times of day; give a number instead, such as hours since midnight or admission"),
    (YEAR_AND_MONTH, "months; give a number instead, such as months since a fixed date"),
)


def is_missing_mark(text: Any) -> Any:
    """Whether clean text is a sign that people write where they have no value, bool (N,)."""
    return pc.is_in(text, pa.array(MISSING_MARKS, pa.large_string()))


def lookalike(text: Any) -> str | None:
    """What clean text holds, and what to do, if it only looks like categories."""
    levels = pc.unique(text).drop_null()
    levels = levels.filter(pc.invert(is_missing_mark(levels)))
    if len(levels) == 0:
        return None
    for every, some, reason in NOT_CATEGORIES:
        if _all(levels, every) and _any(levels, some):
            return reason
    if len(levels) > FEW_LEVELS:
        for every, reason in MANY_NOT_CATEGORIES:
            if _all(levels, every):
                return reason
    return _measured(levels) if is_measured(levels) else None


def is_measured(levels: pa.Array, few_decimals: int = FEW_DECIMALS) -> bool:
    """Whether distinct texts that hold numbers are too many for names of categories.

    Args:
        levels: the texts; with leading zeros they are names, however many.
        few_decimals: most levels that may be names if some have decimals.
    """
    if _any(levels, r"^0\d"):
        return False
    return len(levels) > (few_decimals if _any(levels, DECIMALS) else FEW_LEVELS)


def _measured(levels: pa.Array) -> str | None:
    """What distinct numbers have that makes them text, and what to do."""
    if not _all(levels, rf"^{NUMBER}\s*([%‰°µμa-zA-Z].*)?$"):
        return None
    units = pc.unique(pc.replace_substring_regex(levels, rf"^{NUMBER}\s*", "")).to_pylist()
    if units == [""]:
        example = _first(levels, f"^{LIMIT}")
        return example and (
            f'numbers and limits such as "{example}"; '
            "write a number for each, such as the limit, or leave the cell empty"
        )
    if len(set(units) - {""}) > 1:
        return None
    example = _first(levels, r"[^\d.,]$")
    return f'numbers with a unit, such as "{example}"; write the numbers alone'


def _all(levels: pa.Array, pattern: str) -> bool:
    return pc.all(pc.match_substring_regex(levels, pattern)).as_py()


def _any(levels: pa.Array, pattern: str) -> bool:
    return pc.any(pc.match_substring_regex(levels, pattern)).as_py()


def _first(levels: pa.Array, pattern: str) -> str | None:
    found = levels.filter(pc.match_substring_regex(levels, pattern))
    return found[0].as_py() if len(found) else None
