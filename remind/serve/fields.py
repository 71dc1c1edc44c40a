"""What a request may say of a modality, and the table that it becomes.

Every kind has one way of writing a value as JSON; keys are those of cohort.toml's roles (time,
variable, code), whatever the cohort's tables call their columns:

    tabular  {"hr": 80, "sex": "female"}, columns by name; one that is left out is missing
    vector   [0.1, -2.3, ...]
    series   [{"time": 1.5, "variable": "lactate", "value": 2.1}, ...], hours
    codes    ["I10", "E11.9"], or [{"code": "I10", "time": 3.0, "version": 10}] where the cohort's
             have times or versions
    text     "…" or ["…", "…"], or [{"text": "…", "time": 3.0}] where the cohort's have times
    image, volume, signal
             [{"name": "a.png", "content": "<base64>", "time": 3.0, "beside": [...]}], time as for
             text; `beside` are files without which the first is incomplete: the .dat of a .hea, the
             other slices of a DICOM series
"""

# N patients, V items of a modality

import base64
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Strict,
    WithJsonSchema,
    create_model,
)
from pydantic import Field as About

from remind.cohort import CohortSpec, Encoding
from remind.cohort.columns import number_text

FILES = "files-"
"""Start of the names of the folders that a request's files are written to."""

CLOSED = ConfigDict(extra="forbid", allow_inf_nan=False)
Number = Annotated[float, Strict(), About(allow_inf_nan=False)]
Flag = Annotated[bool, Strict()]
Text = Annotated[str, Strict()]


def _plain_name(name: str) -> str:
    if Path(name).name != name or name.startswith(".") or "\\" in name or ";" in name:
        raise ValueError("must be a file's name without a folder")
    return name


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"must be a file's bytes in base64 ({error})") from error


Content = Annotated[
    bytes,
    BeforeValidator(_decoded),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]


class SentFile(BaseModel):
    """A file that is sent along."""

    model_config = CLOSED

    name: Annotated[str, About(min_length=1, max_length=128), AfterValidator(_plain_name)]
    content: Content


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


class TabularField(Field):
    """Columns of the cohort's table by name."""

    def __init__(self, name: str, spec: Any, encoding: Encoding) -> None:
        super().__init__(name, spec, encoding)
        known = {column.name: column for column in self.schema.columns}
        self.known = [known[column] for column in spec.columns]

    @property
    def annotation(self) -> Any:
        keys: dict[str, Any] = {
            f"column_{c}": (_cell(column) | None, About(default=None, alias=column.name))
            for c, column in enumerate(self.known)
        }
        return create_model(f"Tabular_{self.name}", __config__=CLOSED, **keys)

    def columns(self, values: Sequence[Any], folder: Path) -> dict[str, pd.Series]:
        return {
            column.name: _cells(
                [None if value is None else getattr(value, f"column_{c}") for value in values],
                is_number=column.kind == "numeric",
            )
            for c, column in enumerate(self.known)
        }


class VectorField(Field):
    """A list of numbers, as many as training's have."""

    @property
    def annotation(self) -> Any:
        dim = next(item.dim for item in self.schema.modalities if item.name == self.name)
        return Annotated[list[Number], About(min_length=dim, max_length=dim)]

    def columns(self, values: Sequence[Any], folder: Path) -> dict[str, pd.Series]:
        return {self.spec.column: pd.Series(list(values), dtype=object)}


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
            column: _cells([item[key] for _, item in found], is_number=kind is Number)
            for key, (kind, column) in self.keys.items()
        }
        return [row for row, _ in found], columns

    def item(self) -> Any:
        """The type of an item with all of its keys."""
        keys: dict[str, Any] = {key: (kind, ...) for key, (kind, _) in self.keys.items()}
        return create_model(f"Item_{self.name}", __config__=CLOSED, **keys)


class SeriesField(ItemsField):
    """Measurements with their times."""

    main = "value"

    @property
    def annotation(self) -> Any:
        return list[self.item()]

    @property
    def keys(self) -> dict[str, tuple[Any, str]]:
        spec = self.spec
        return {
            "time": (Number, spec.time),
            "variable": (Text, spec.variable),
            "value": (Number | Flag | Text, spec.value),
        }


class PlainItemsField(ItemsField):
    """Items of one text each, that need no keys where they have neither time nor version."""

    @property
    def keys(self) -> dict[str, tuple[Any, str]]:
        spec = self.spec
        columns: dict[str, tuple[Any, str]] = {
            self.main: (Text, spec.column or getattr(spec, self.main))
        }
        if spec.time is not None:
            columns["time"] = (Number, spec.time)
        if getattr(spec, "version", None) is not None:
            columns["version"] = (Number | Text, spec.version)
        return columns

    def items(self, value: Any, folder: Path) -> list[dict[str, Any]]:
        value = [value] if isinstance(value, str) else value
        if len(self.keys) == 1:
            return [{self.main: item} for item in value]
        return super().items(value, folder)


class CodesField(PlainItemsField):
    """A bag of codes."""

    main = "code"

    @property
    def annotation(self) -> Any:
        return list[Text] if len(self.keys) == 1 else list[self.item()]


class TextField(PlainItemsField):
    """One note or several."""

    main = "text"

    @property
    def annotation(self) -> Any:
        return Text | list[Text] if len(self.keys) == 1 else list[self.item()]


class FilesField(ItemsField):
    """Files, each with what belongs to it; they are written into the folder of the request."""

    main = "path"

    @property
    def annotation(self) -> Any:
        keys: dict[str, Any] = {"beside": (list[SentFile], About(default=[]))}
        if self.spec.time is not None:
            keys["time"] = (Number, ...)
        return list[create_model(f"File_{self.name}", __base__=SentFile, **keys)]

    @property
    def keys(self) -> dict[str, tuple[Any, str]]:
        spec = self.spec
        columns = {"path": (Text, spec.column or spec.path)}
        return columns if spec.time is None else columns | {"time": (Number, spec.time)}

    def items(self, value: Any, folder: Path) -> list[dict[str, Any]]:
        return [
            {"path": self._written(item, folder), "time": getattr(item, "time", None)}
            for item in value
        ]

    def _written(self, item: Any, folder: Path) -> str:
        """The path of the file, or of the folder of a series of slices."""
        place = folder / f"{FILES}{sum(1 for _ in folder.iterdir())}"
        place.mkdir()
        for file in (item, *item.beside):
            (place / file.name).write_bytes(file.content)
        is_series = self.spec.kind == "volume" and item.beside
        return place.name if is_series else f"{place.name}/{item.name}"


FIELDS: dict[str, type[Field]] = {
    "tabular": TabularField,
    "vector": VectorField,
    "series": SeriesField,
    "codes": CodesField,
    "text": TextField,
    "image": FilesField,
    "volume": FilesField,
    "signal": FilesField,
}
"""Kind -> how requests write it."""


def fields_of(spec: CohortSpec, encoding: Encoding) -> dict[str, Field]:
    """The fields of a cohort's modalities, in order."""
    return {
        name: FIELDS[modality.kind](name, modality, encoding)
        for name, modality in spec.modalities.items()
    }


def request_model(fields: Mapping[str, Field]) -> type[BaseModel]:
    """The body of a request: patients with whatever is observed in them."""
    modalities: dict[str, Any] = {
        f"modality_{m}": (field.annotation | None, About(default=None, alias=name))
        for m, (name, field) in enumerate(fields.items())
    }
    observed = create_model("Modalities", __config__=CLOSED, **modalities)
    patients = (list[_patient(observed)], About(min_length=1))
    return create_model("Request", __config__=CLOSED, patients=patients)


def _patient(observed: type[BaseModel]) -> Any:
    identity = Annotated[str, About(min_length=1, max_length=200)] | Annotated[int, Strict()]
    return create_model(
        "Patient",
        __config__=CLOSED,
        id=(identity, About(description="comes back with the prediction")),
        modalities=(observed, About(description="whatever is observed; the rest may be left out")),
    )


def _cell(column: Any) -> Any:
    """The type of a value of a column."""
    if column.kind == "numeric":
        knots = column.knots
        said = f"in training {knots[0]:g} to {knots[-1]:g}" if knots else "never seen in training"
        return Annotated[Number | Flag, About(description=said)]
    said = f"in training {', '.join(column.categories)}"
    return Annotated[Text | Number | Flag, About(description=said)]


def _cells(values: Sequence[Any], *, is_number: bool) -> pd.Series:
    """A column of numbers, or of what a table of text would hold, with nulls."""
    is_text = any(isinstance(value, str) for value in values)
    if is_number or not is_text:
        return pd.Series([np.nan if v is None else float(v) for v in values], dtype=np.float64)
    return pd.Series([None if v is None else _text(v) for v in values], dtype=object)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else number_text(value)
