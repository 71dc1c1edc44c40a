"""The modality kinds that exist, by name."""

from remind.cohort.kinds.base import FlatColumns, Kind, ModalitySpec
from remind.cohort.kinds.codes import Codes
from remind.cohort.kinds.image import Image
from remind.cohort.kinds.series import Series
from remind.cohort.kinds.signal import Signal
from remind.cohort.kinds.tabular import Tabular
from remind.cohort.kinds.text import Text
from remind.cohort.kinds.vector import Vector
from remind.cohort.kinds.volume import Volume

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (Tabular(), Vector(), Series(), Codes(), Text(), Image(), Volume(), Signal())
}

SUMMARY = "summary"
"""Name of the table of `remind.cohort.summary` among the schemas of an encoding."""

CODERS: dict[str, Kind] = {**KINDS, SUMMARY: KINDS["tabular"]}
"""Whose schemas and encoded values an encoding holds, by the name that they have there."""

__all__ = ["CODERS", "KINDS", "SUMMARY", "FlatColumns", "Kind", "ModalitySpec"]
