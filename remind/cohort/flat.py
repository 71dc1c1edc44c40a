"""The flat view: one plain table for peers that know nothing of modalities (LightGBM, TabM)."""

# N patients, F flat columns

from dataclasses import dataclass

import numpy as np

from remind.cohort.cohort import Cohort
from remind.cohort.encoding import Encoding, raws_by_kind
from remind.cohort.kinds import KINDS


@dataclass(frozen=True, kw_only=True, eq=False)
class FlatTable:
    """float32 (N, F), NaN where missing.

    Args:
        x_NF: numbers as they are; categories as training codes 0..V-1, V for an unknown one.
        names: F column names.
        categorical: positions of the categorical columns.
        cardinalities: V + 1 of each of these.
    """

    x_NF: np.ndarray
    names: list[str]
    categorical: list[int]
    cardinalities: list[int]


def flat_table(encoding: Encoding, cohort: Cohort) -> FlatTable:
    """All columns of all modalities side by side, NaN where a modality is not present."""
    raws = raws_by_kind(cohort)
    parts = [
        KINDS[kind].flat(schema, raws[kind])
        for kind, schema in encoding.schemas.items()
        if kind in KINDS
    ]
    x_NF = np.concatenate([part.x_NF for part in parts], axis=1)
    modality_F = np.concatenate([part.modality_F for part in parts])
    x_NF[~cohort.present_NM[:, modality_F]] = np.nan
    offsets = np.cumsum([0] + [len(part.names) for part in parts])
    codes = {
        int(offset) + position: cardinality
        for offset, part in zip(offsets, parts, strict=False)
        for position, cardinality in part.cardinalities.items()
    }
    return FlatTable(
        x_NF=x_NF,
        names=[name for part in parts for name in part.names],
        categorical=list(codes),
        cardinalities=list(codes.values()),
    )
