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

# N patients

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import AfterValidator, BaseModel, BeforeValidator, WithJsonSchema, create_model
from pydantic import Field as About

from remind.cohort import CohortSpec, Encoding
from remind.serve.fields import CLOSED, Field, Flag, ItemsField, Number, Text, cells_of

FILES = "files-"
"""Start of the names of the folders that a request's files are written to."""


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
            column.name: cells_of(
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


def _cell(column: Any) -> Any:
    """The type of a value of a column."""
    if column.kind == "numeric":
        knots = column.knots
        said = f"in training {knots[0]:g} to {knots[-1]:g}" if knots else "never seen in training"
        return Annotated[Number | Flag, About(description=said)]
    said = f"in training {', '.join(column.categories)}"
    return Annotated[Text | Number | Flag, About(description=said)]
