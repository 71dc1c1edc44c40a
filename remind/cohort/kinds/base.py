"""What a modality kind has to know. A new kind is one file here and one line in `__init__.py`."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from remind.cohort.kinds.reading import Policy, Reading

# N patients, M modalities, F flat columns


class ModalitySpec(BaseModel):
    """One `[modalities.<name>]` section of cohort.toml.

    `on_invalid`: whether an invalid value is an error, or missing: a cell is empty then, and a row
    of a long table, a note or a file is left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: str
    on_invalid: Policy = "error"

    @property
    def feature_columns(self) -> tuple[str, ...]:
        """The columns of the cohort's table that hold this modality; none if it has its own."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True, eq=False)
class FlatColumns:
    """Columns of a plain table: float32 (N, F) with NaN for missing.

    Args:
        x_NF: the values; a categorical column holds training codes.
        names: F column names.
        modality_F: index into the cohort's modalities.
        cardinalities: position of a categorical column -> number of codes, "unknown" included.
    """

    x_NF: np.ndarray
    names: list[str]
    modality_F: np.ndarray
    cardinalities: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls, modalities: Sequence[int], tables: Sequence[tuple[list[str], np.ndarray]]
    ) -> "FlatColumns":
        """Numeric columns of several modalities side by side.

        Args:
            modalities: index of each, at least one.
            tables: names and values (N, K) of each.
        """
        return cls(
            x_NF=np.concatenate([x_NK for _, x_NK in tables], axis=1),
            names=[name for names, _ in tables for name in names],
            modality_F=np.repeat(modalities, [len(names) for names, _ in tables]),
        )


class Kind(ABC):
    """Reading, encoding and batching of one modality kind.

    `raw` is what a cohort holds for one modality; a schema holds the training statistics of all
    modalities of the kind; `encoded` is what all of them become.
    """

    name: ClassVar[str]
    spec: ClassVar[type[ModalitySpec]]

    @abstractmethod
    def read(self, reading: Reading, spec: Any, schema: Any | None) -> Any:
        """Raw values of a modality; `schema` holds what training found, None finds out."""

    @abstractmethod
    def absent(self, modality: str, spec: Any, num_rows: int, schema: Any) -> Any:
        """Raw values of a modality that the table does not have."""

    @abstractmethod
    def present(self, raw: Any) -> np.ndarray:
        """Whether each patient is observed, bool (N,)."""

    @abstractmethod
    def select(self, raw: Any, rows: np.ndarray) -> Any:
        """The raw values of some rows."""

    @abstractmethod
    def digest(self, raw: Any) -> Iterator[bytes]:
        """Bytes that change whenever a value changes."""

    @abstractmethod
    def describe(self, raw: Any) -> dict[str, Any]:
        """What one needs to know before training, as JSON: counts, ranges, lengths."""

    @abstractmethod
    def fit(
        self,
        raws: Mapping[str, Any],
        specs: Mapping[str, Any],
        indices: Mapping[str, int],
        rows: np.ndarray,
        max_bins: int,
    ) -> Any:
        """The schema of these modalities, from the given (training) rows only.

        Args:
            raws, specs: by name of the modality.
            indices: of each in the cohort's modalities.
            rows: of training patients.
            max_bins: most intervals between knots of a number.
        """

    @abstractmethod
    def encode(self, schema: Any, raws: Mapping[str, Any], present_NM: np.ndarray) -> Any:
        """Arrays with leading N; a modality that is not present leaves no trace in them."""

    @abstractmethod
    def batch(self, encoded: Any, rows: np.ndarray) -> Any:
        """The encoded values of some rows: arrays, or dicts and dataclasses of them.

        An array has a leading axis of patients, or of items beside an array of their owners.
        """

    @abstractmethod
    def flat(self, schema: Any, raws: Mapping[str, Any]) -> FlatColumns:
        """The same values as plain columns."""

    def overview(
        self, schema: Any, raws: Mapping[str, Any], rows: np.ndarray
    ) -> FlatColumns | None:
        """Plain columns of some rows that stand beside what the encoder learns.

        See `remind.cohort.summary`.
        """
        return None

    def some(self, raws: Mapping[str, Any], rows: np.ndarray) -> dict[str, Any]:
        """The raw values of some rows of several modalities."""
        return {name: self.select(raw, rows) for name, raw in raws.items()}

    @abstractmethod
    def dump(self, schema: Any) -> dict[str, Any]:
        """The schema as JSON."""

    @abstractmethod
    def load(self, data: Mapping[str, Any]) -> Any:
        """The schema back from JSON."""
