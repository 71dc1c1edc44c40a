"""Codes and the broader codes above them, by prefix: ICD-9-CM, ICD-10, ATC.

The path of a code goes from its chapter down to itself, level by level; codes of one length lie on
one level, so that siblings share all levels above them. Codes that do not look like the system's
have no ancestors.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Literal

System = Literal["none", "icd9", "icd10", "icd", "atc"]

ICD9 = re.compile(r"(\d{3}|V\d{2}|E\d{3})\d{0,2}")
ICD10 = re.compile(r"[A-Z]\d[0-9A-Z]{1,5}")
ATC = re.compile(r"[A-Z](\d{2}([A-Z]([A-Z](\d{2})?)?)?)?")

ICD9_CHAPTERS = (
    *("001-139", "140-239", "240-279", "280-289", "290-319", "320-389", "390-459", "460-519"),
    *("520-579", "580-629", "630-679", "680-709", "710-739", "740-759", "760-779", "780-799"),
    *("800-999", "E000-E999", "V01-V91"),
)
ICD10_CHAPTERS = (
    *("A00-B99", "C00-D49", "D50-D89", "E00-E89", "F01-F99", "G00-G99", "H00-H59", "H60-H95"),
    *("I00-I99", "J00-J99", "K00-K95", "L00-L99", "M00-M99", "N00-N99", "O00-O9A", "P00-P96"),
    *("Q00-Q99", "R00-R99", "S00-T88", "U00-U85", "V00-Y99", "Z00-Z99"),
)
ATC_LENGTHS = (1, 3, 4, 5, 7)
VERSIONS = {"9": "icd9", "10": "icd10"}


def normal_form(code: str, system: System) -> str:
    """Upper case without surrounding blanks; in a known system without dots and blanks at all."""
    code = code.strip().upper()
    return code if system == "none" else re.sub(r"[\s.]", "", code)


def path(code: str, system: System) -> tuple[str, ...]:
    """The code on the level of its length and its ancestors on those above; "" on other levels.

    Args:
        code: in normal form; with the system "icd" after its version and a colon, as in "9:4019".
        system: that it is of.

    Returns:
        As many texts as the system has levels. Those of different levels differ.
    """
    return _PATHS[system](code)


def _icd9(code: str) -> tuple[str, ...]:
    if not ICD9.fullmatch(code):
        return ("", "", "", code)
    length = 4 if code[0] == "E" else 3
    return (_chapter(code, ICD9_CHAPTERS), *(_prefix(code, length + more) for more in range(3)))


def _icd10(code: str) -> tuple[str, ...]:
    if not ICD10.fullmatch(code):
        return ("", "", "", "", "", code)
    return (_chapter(code, ICD10_CHAPTERS), *(_prefix(code, length) for length in range(3, 8)))


def _icd(code: str) -> tuple[str, ...]:
    version, _, bare = code.partition(":")
    levels = _icd9(bare) if version == "9" else _icd10(bare)
    named = (f"{version}:{level}" if level else "" for level in levels)
    return (*named, *[""] * (6 - len(levels)))


def _atc(code: str) -> tuple[str, ...]:
    if not ATC.fullmatch(code):
        return ("", "", "", "", "", code)
    return (*(_prefix(code, length) for length in ATC_LENGTHS), "")


def _none(code: str) -> tuple[str, ...]:
    return (code,)


def _chapter(code: str, chapters: tuple[str, ...]) -> str:
    """The last chapter that does not start after the code; the first one for what is before."""
    return chapters[max(bisect_right(chapters, code, key=_first) - 1, 0)]


def _first(chapter: str) -> str:
    return chapter.partition("-")[0]


def _prefix(code: str, length: int) -> str:
    return code[:length] if len(code) >= length else ""


_PATHS: Mapping[System, Callable[[str], tuple[str, ...]]] = {
    "none": _none,
    "icd9": _icd9,
    "icd10": _icd10,
    "icd": _icd,
    "atc": _atc,
}
