"""The modality kinds that exist, by name."""

from remind.cohort.kinds.base import FlatColumns, Kind, ModalitySpec
from remind.cohort.kinds.tabular import Tabular
from remind.cohort.kinds.vector import Vector

KINDS: dict[str, Kind] = {kind.name: kind for kind in (Tabular(), Vector())}

__all__ = ["KINDS", "FlatColumns", "Kind", "ModalitySpec"]
