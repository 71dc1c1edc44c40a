"""layout.toml: where the table and the files of an eye-imaging set are.

[cohort]
name = "eyes"
table = "labels.csv"              # a row per eye or patient: .csv, .csv.gz or .parquet, a glob
id = ["patient", "eye"]           # one column, or several that name the row together
label = "diagnosis"
task = "multiclass"               # or binary
group_by = "patient"              # whose rows never cross splits [the first of several ids]
unit = "eyes"                     # what a row is, in messages

[labels]                          # value → class; rows of other values are left out [all]
"0" = "healthy"

[split]
column = "fold"                   # or val = 0.1, test = 0.2
values = {training = "train"}     # value → train, val or test; other rows are left out [as is]

[modalities.fundus]               # files named by a column …
kind = "image"                    # image or volume, and any key of that kind in cohort.toml
column = ["left", "right"]        # one or several; several paths in a cell are joined by ";"
folder = "images"                 # where the paths start [the root]

[modalities.oct]                  # … or found by a pattern
kind = "image"
pattern = "oct/{id}/*.png"        # {id} and {any column}; * ? [ ] match within a name
most = 16                         # only so many files per row, evenly spaced [all]

[modalities.clinical]
kind = "tabular"
columns = ["age", "sex"]
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from remind.cohort.kinds import KINDS
from remind.cohort.schema import Positive, spec_from_dict
from remind.errors import InputError, did_you_mean
from remind.sources.masking.sections import read_toml, section

LAYOUT = "layout.toml"
FILE_KINDS, OTHER_KINDS = ("image", "volume"), ("tabular",)
OWN_KEYS = ("column", "table", "id", "path")  # of a file kind, which the layout replaces
NAME = re.compile(r"[A-Za-z0-9_-]+")
PLACE = re.compile(r"\{([^{}]+)\}")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CohortPart(_Part):
    """`[cohort]`."""

    name: str = Field(min_length=1)
    table: str = Field(min_length=1)
    id: str | list[str] = Field(min_length=1)
    label: str = Field(min_length=1)
    task: Literal["binary", "multiclass"]
    positive: Positive = None
    group_by: str | None = None
    unit: str = Field(default="eyes", min_length=1)

    @property
    def id_columns(self) -> list[str]:
        """The columns that name a row together."""
        return [self.id] if isinstance(self.id, str) else self.id

    @property
    def id_name(self) -> str:
        """The name of the id in the cohort."""
        return "_".join(self.id_columns)

    @property
    def person(self) -> str | None:
        """The column whose rows never cross splits: of both eyes of a patient, the patient."""
        first = self.id_columns[0] if len(self.id_columns) > 1 else None
        return self.group_by or first


class SplitPart(_Part):
    """`[split]`: a column, or the fractions of val and test."""

    column: str | None = None
    values: dict[str, Literal["train", "val", "test"]] | None = Field(default=None, min_length=1)
    val: float = Field(default=0.1, ge=0, lt=1)
    test: float = Field(default=0.2, ge=0, lt=1)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        fractions = sorted(self.model_fields_set & {"val", "test"})
        if self.column is not None and fractions:
            raise ValueError(f"gives both column and {' and '.join(fractions)}: keep one of them")
        if self.values is not None and self.column is None:
            raise ValueError("gives values of no column: name the column too")
        if self.val + self.test >= 1:
            raise ValueError(f"leaves nothing to train on: val + test is {self.val + self.test:g}")
        return self


class FilePart(_Part):
    """Where the files of a modality are."""

    column: str | list[str] | None = Field(default=None, min_length=1)
    pattern: str | None = Field(default=None, min_length=1)
    folder: str = "."
    most: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.column is None) == (self.pattern is None):
            raise ValueError("needs either a column of paths or a pattern: give one of both")
        if self.pattern is not None and "**" in self.pattern:
            raise ValueError('has a pattern with "**": name each folder, as in "*/{id}.png"')
        return self

    @property
    def columns(self) -> list[str]:
        """The columns of paths."""
        return [self.column] if isinstance(self.column, str) else self.column or []

    @property
    def placeholders(self) -> list[str]:
        """The names in braces of the pattern."""
        return PLACE.findall(self.pattern or "")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A checked layout.

    Args:
        source: its file, for error sentences.
        cohort, split: its sections.
        labels: value → class, empty if all values are classes.
        modalities: the other keys of each modality's section, `kind` among them.
        files: where the files of a modality are, for those that have files.
    """

    source: str
    cohort: CohortPart
    split: SplitPart
    labels: Mapping[str, str]
    modalities: Mapping[str, dict[str, Any]]
    files: Mapping[str, FilePart]

    def columns(self) -> dict[str, str]:
        """Each column that the layout names → the section that names it."""
        part = self.cohort
        named = [(name, "[cohort]") for name in [*part.id_columns, part.label, part.person]]
        named.append((self.split.column, "[split]"))
        for name, files in self.files.items():
            placeholders = [place for place in files.placeholders if place != "id"]
            named += [(c, f"[modalities.{name}]") for c in [*files.columns, *placeholders]]
        for name, keys in self.modalities.items():
            named += [(c, f"[modalities.{name}]") for c in keys.get("columns", [])]
        return {column: where for column, where in named if column is not None}

    @property
    def tabular_columns(self) -> list[str]:
        """The columns of tabular modalities."""
        return [column for keys in self.modalities.values() for column in keys.get("columns", [])]

    def content(self, seed: int) -> dict[str, Any]:
        """The cohort.toml of all modalities; columns keep their names."""
        part, split = self.cohort, self.split
        cohort = {"name": part.name, "table": "patients.parquet", "id": part.id_name}
        cohort |= {"label": part.label, "task": part.task}
        if part.positive is not None:
            cohort["positive"] = part.positive
        if part.person is not None:
            cohort["group_by"] = part.person
        modalities = {
            name: {**keys, "table": f"{name}.parquet"} if name in self.files else keys
            for name, keys in self.modalities.items()
        }
        fractions = {"val": split.val, "test": split.test, "seed": seed}
        return {
            "cohort": cohort,
            "split": fractions if split.column is None else {"column": split.column},
            "modalities": modalities,
        }


def load_layout(file: Path, root: Path) -> Layout:
    """Read and check a layout.

    Args:
        file: that should be there.
        root: where its paths start, absolute.

    Raises:
        InputError: it is absent, or says something that cannot be.
    """
    data = read_toml(file, "a layout as docs/eye.md shows")
    source = str(file)
    _known(data, ("cohort", "labels", "split", "modalities"), source)
    for name in ("cohort", "modalities"):
        if not data.get(name):
            raise InputError(f"{source}: there is no [{name}] section: add one")
    labels = data.get("labels", {})
    if not isinstance(labels, dict) or not all(isinstance(c, str) for c in labels.values()):
        raise InputError(f'{source}: [labels] must say "value" = "class", got {labels!r}')
    parts = {
        name: _modality(name, keys, root, f"{source}: [modalities.{name}]")
        for name, keys in data["modalities"].items()
    }
    layout = Layout(
        source=source,
        cohort=section(CohortPart, data["cohort"], f"{source}: [cohort]"),
        split=section(SplitPart, data.get("split", {}), f"{source}: [split]"),
        labels=labels,
        modalities={name: keys for name, (keys, _) in parts.items()},
        files={name: files for name, (_, files) in parts.items() if files is not None},
    )
    spec_from_dict(layout.content(seed=0), root=root, source=source)  # keys of the kinds, claims
    return layout


def _modality(
    name: str, keys: Any, root: Path, where: str
) -> tuple[dict[str, Any], FilePart | None]:
    """The keys of the kind, and where the files are."""
    kinds = (*FILE_KINDS, *OTHER_KINDS)
    if not NAME.fullmatch(name):
        raise InputError(f"{where} is no usable name: use letters, digits, - and _ only")
    if not isinstance(keys, Mapping) or keys.get("kind") not in kinds:
        got = keys.get("kind") if isinstance(keys, Mapping) else keys
        hint = did_you_mean(str(got), kinds)
        raise InputError(f"{where} needs a kind of {', '.join(kinds)}, got {got!r}{hint}")
    known = list(KINDS[keys["kind"]].spec.model_fields)
    if keys["kind"] in OTHER_KINDS:
        _known(keys, known, where)
        return dict(keys), None
    own = FilePart.model_fields
    _known(keys, [*own, *(key for key in known if key not in OWN_KEYS)], where)
    rest = {key: value for key, value in keys.items() if key not in own}
    if isinstance(rest.get("weights"), str):
        rest["weights"] = str(root / rest["weights"])
    files = {key: value for key, value in keys.items() if key in own}
    return rest, section(FilePart, files, where)


def _known(data: Mapping[str, Any], known: Any, where: str) -> None:
    for key in data:
        if key not in known:
            hint = did_you_mean(key, known) or f" (it may have {', '.join(known)})"
            raise InputError(f'{where} has the unknown key "{key}"{hint}')
