"""A modality in requests: the type of its value, and the columns or rows of a table it becomes."""

# N patients, V items of a modality

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import ConfigDict, Strict, create_model
from pydantic import Field as About

from remind.cohort import Encoding
from remind.cohort.columns import number_text

CLOSED = ConfigDict(extra="forbid", allow_inf_nan=False)
Number = Annotated[float, Strict(), About(allow_inf_nan=False)]
Flag = Annotated[bool, Strict()]
Text = Annotated[str, Strict()]


class Field(ABC):
    """A modality in requests.

    Args:
        name: of the modality.
        spec: its section of cohort.toml.
        encoding: of the training patients.
    """

    def __init__(self, name: str, spec: Any, encoding: Encoding) -> None:
        self.name, self.spec = name, spec
        self.schema = encoding.schemas[spec.kind]

    @property
    @abstractmethod
    def annotation(self) -> Any:
        """The type of its value."""

    def columns(self, values: Sequence[Any], folder: Path) -> dict[str, pd.Series]:
        """Its columns of the cohort's table.

        Args:
            values: of N patients, None where it is not observed.
            folder: where files may be written; paths in cells are relative to it.
        """
        return {}

    def rows(self, values: Sequence[Any], folder: Path) -> tuple[list[int], dict[str, pd.Series]]:
        """The patient of each row of its own table, if it has one, and the other columns."""
        return [], {}


class ItemsField(Field):
    """Items in a table of their own, or in a column of lists of the cohort's table.

    `main` is the key of cohort.toml that names the column of an item itself.
    """

    main: ClassVar[str]

    @property
    def keys(self) -> dict[str, tuple[Any, str]]:
        """Key of an item -> its type, and the column of its table."""
        return {}

    def items(self, value: Any, folder: Path) -> list[dict[str, Any]]:
        """The items of a patient: a value for each key."""
        return [{key: getattr(item, key) for key in self.keys} for item in value]

    def columns(self, values: Sequence[Any], folder: Path) -> dict[str, pd.Series]:
        if getattr(self.spec, "column", None) is None:
            return {}
        cells = [
            [item[self.main] for item in self.items(value, folder)] if value else None
            for value in values
        ]
        return {self.spec.column: pd.Series(cells, dtype=object)}

    def rows(self, values: Sequence[Any], folder: Path) -> tuple[list[int], dict[str, pd.Series]]:
        if self.spec.table is None:
            return [], {}
        found = [
            (row, item)
            for row, value in enumerate(values)
            if value
            for item in self.items(value, folder)
        ]
        columns = {
            column: cells_of([item[key] for _, item in found], is_number=kind is Number)
            for key, (kind, column) in self.keys.items()
        }
        return [row for row, _ in found], columns

    def item(self) -> Any:
        """The type of an item with all of its keys."""
        keys: dict[str, Any] = {key: (kind, ...) for key, (kind, _) in self.keys.items()}
        return create_model(f"Item_{self.name}", __config__=CLOSED, **keys)


def cells_of(values: Sequence[Any], *, is_number: bool) -> pd.Series:
    """A column of numbers, or of what a table of text would hold, with nulls."""
    is_text = any(isinstance(value, str) for value in values)
    if is_number or not is_text:
        return pd.Series([np.nan if v is None else float(v) for v in values], dtype=np.float64)
    return pd.Series([None if v is None else _text(v) for v in values], dtype=object)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else number_text(value)
