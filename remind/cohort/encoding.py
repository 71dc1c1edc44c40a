"""Encoding: statistics of the training rows, and the arrays that they make of any cohort."""

# N patients, M modalities, B patients of a batch

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from remind.cohort.cohort import Cohort
from remind.cohort.groups import Bands, Groups
from remind.cohort.kinds import KINDS
from remind.cohort.summary import CODERS, SUMMARY, encode_summary, fit_summary

if TYPE_CHECKING:
    from remind.cohort.batch import Batch


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """Arrays of N patients, ready to be cut into batches.

    Args:
        ids: (N,).
        present_NM: whether each modality is observed, bool.
        label_N: class index int64, -1 unknown.
        group_N: training group int64, -1 unseen.
        values: kind name -> encoded values of all its modalities.
        groups: of the training rows.
    """

    ids: np.ndarray
    present_NM: np.ndarray
    label_N: np.ndarray
    group_N: np.ndarray
    values: dict[str, Any]
    groups: Groups

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, rows: np.ndarray) -> "Batch":
        """The tensors of some rows, in the order given."""
        from remind.cohort.batch import make_batch  # torch, only where it is needed

        return make_batch(self, rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoding:
    """What training rows say about how to encode.

    Args:
        modalities: M names in order.
        classes: class names in order.
        groups: training combinations.
        schemas: kind name -> its schema, for the kinds that the cohort has; `SUMMARY` -> the table
            beside them, if there is one.
    """

    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    groups: Groups
    schemas: dict[str, Any]

    @classmethod
    def fit(
        cls,
        cohort: Cohort,
        rows: np.ndarray,
        *,
        max_bins: int = 48,
        bands: Bands | None = None,
        summaries: bool = True,
    ) -> Self:
        """Statistics from these rows of the cohort only.

        Args:
            cohort: labelled or not.
            rows: the training rows, at least one.
            max_bins: most intervals between knots of a numeric column, >= 1.
            bands: thresholds on group counts.
            summaries: whether there is a table about the modalities that are none.
        """
        if max_bins < 1 or len(rows) == 0:
            raise ValueError(
                f"max_bins and the number of rows must be >= 1, got {max_bins} and {len(rows)}"
            )
        names = cohort.spec.modality_names
        indices = {name: m for m, name in enumerate(names)}
        raws = raws_by_kind(cohort)
        schemas = {
            kind: KINDS[kind].fit(
                some, {name: cohort.spec.modalities[name] for name in some}, indices, rows, max_bins
            )
            for kind, some in raws.items()
        }
        if summaries and (summary := fit_summary(schemas, raws, cohort.present_NM, rows, max_bins)):
            schemas[SUMMARY] = summary
        groups = Groups.fit(cohort.present_NM[rows], names, bands)
        return cls(modalities=names, classes=cohort.classes, groups=groups, schemas=schemas)

    def transform(self, cohort: Cohort) -> Encoded:
        """Encode a cohort with the same modalities.

        Raises:
            InputError: a column that was numeric in training holds text.
        """
        assert cohort.spec.modality_names == self.modalities
        raws = raws_by_kind(cohort)
        values = {
            kind: KINDS[kind].encode(schema, raws[kind], cohort.present_NM)
            for kind, schema in self.schemas.items()
            if kind != SUMMARY
        }
        if summary := self.schemas.get(SUMMARY):
            values[SUMMARY] = encode_summary(summary, self.schemas, raws, cohort.present_NM)
        return Encoded(
            ids=cohort.ids,
            present_NM=cohort.present_NM,
            label_N=self._labels(cohort),
            group_N=self.groups.ids(cohort.present_NM),
            values=values,
            groups=self.groups,
        )

    def _labels(self, cohort: Cohort) -> np.ndarray:
        if cohort.label_N is None:
            return np.full(len(cohort), -1, dtype=np.int64)
        position = {name: index for index, name in enumerate(self.classes)}
        return np.array([position.get(name, -1) for name in cohort.classes], dtype=np.int64)[
            cohort.label_N
        ]

    def to_dict(self) -> dict[str, Any]:
        """JSON; floats come back exactly."""
        return {
            "modalities": list(self.modalities),
            "classes": list(self.classes),
            "groups": self.groups.to_dict(),
            "schemas": {kind: CODERS[kind].dump(schema) for kind, schema in self.schemas.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The encoding of `to_dict`."""
        return cls(
            modalities=tuple(data["modalities"]),
            classes=tuple(data["classes"]),
            groups=Groups.from_dict(data["groups"]),
            schemas={kind: CODERS[kind].load(schema) for kind, schema in data["schemas"].items()},
        )


def raws_by_kind(cohort: Cohort) -> dict[str, dict[str, Any]]:
    """Kind name -> modality -> raw values, in the order of the modalities."""
    raws: dict[str, dict[str, Any]] = {}
    for name, modality in cohort.spec.modalities.items():
        raws.setdefault(modality.kind, {})[name] = cohort.values[name]
    return raws
