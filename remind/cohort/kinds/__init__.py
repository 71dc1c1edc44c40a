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

__all__ = ["KINDS", "FlatColumns", "Kind", "ModalitySpec"]
