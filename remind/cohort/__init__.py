"""Who is observed in what: cohorts, modality combinations, encodings and batches.

`Batch` is imported when it is used, because it needs torch and nothing else here does.
"""

from typing import TYPE_CHECKING, Any

from remind.cohort.cohort import Cohort, cohort_from_frame, read_cohort, read_table_for_prediction
from remind.cohort.describe import (
    counted_invalid,
    describe,
    invalid_lines,
    long_tail,
    taken_for_granted,
    unnamed_positive,
)
from remind.cohort.encoding import Encoded, Encoding
from remind.cohort.flat import FlatTable, flat_table
from remind.cohort.groups import BAND_NAMES, Bands, Groups
from remind.cohort.kinds import KINDS
from remind.cohort.kinds.tabular import TabularBatch, TabularColumn, TabularSchema, TabularValues
from remind.cohort.kinds.vector import VectorModality, VectorSchema
from remind.cohort.schema import CohortSpec, load_spec, spec_from_dict

if TYPE_CHECKING:
    from remind.cohort.batch import Batch

__all__ = [
    "BAND_NAMES",
    "KINDS",
    "Bands",
    "Batch",
    "Cohort",
    "CohortSpec",
    "Encoded",
    "Encoding",
    "FlatTable",
    "Groups",
    "TabularBatch",
    "TabularColumn",
    "TabularSchema",
    "TabularValues",
    "VectorModality",
    "VectorSchema",
    "cohort_from_frame",
    "counted_invalid",
    "describe",
    "flat_table",
    "invalid_lines",
    "load_spec",
    "long_tail",
    "read_cohort",
    "read_table_for_prediction",
    "spec_from_dict",
    "taken_for_granted",
    "unnamed_positive",
]


def __getattr__(name: str) -> Any:
    if name == "Batch":
        from remind.cohort.batch import Batch

        return Batch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
