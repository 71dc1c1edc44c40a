"""cohort.toml: what it may say, checked before any table is opened."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from remind.cohort.kinds import KINDS, ModalitySpec
from remind.errors import InputError, did_you_mean

FILE_NAME = "cohort.toml"
SUPPORTED_TASKS = ("binary", "multiclass")
SECTIONS = ("cohort", "split", "modalities")

Section = TypeVar("Section", bound=BaseModel)


def _as_text(value: Any) -> Any:
    """A number, true or false as a cell of a CSV has it."""
    return str(value).lower() if isinstance(value, bool | int | float) else value


Positive = Annotated[str | None, BeforeValidator(_as_text)]


class CohortSection(BaseModel):
    """`[cohort]`: the table and its roles.

    `table` is a path or glob relative to cohort.toml, `id` a unique column, `group_by` a column of
    persons whose rows never cross splits. `positive` is the one of two labels that F1, AUPRC and
    calibration are of; without it, the last in sorted order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(min_length=1)
    table: str = Field(min_length=1)
    id: str = Field(min_length=1)
    label: str = Field(min_length=1)
    task: Literal["binary", "multiclass", "multilabel", "regression"]
    group_by: str | None = None
    positive: Positive = None


class SplitSection(BaseModel):
    """`[split]`: a column that holds train, val or test, or the fractions of val and test."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    column: str | None = None
    val: float = Field(default=0.15, ge=0, lt=1)
    test: float = Field(default=0.2, ge=0, lt=1)
    seed: int = Field(default=0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        fractions = sorted(self.model_fields_set - {"column"})
        if self.column is not None and fractions:
            raise ValueError(f"gives both column and {', '.join(fractions)}: keep one way to split")
        if self.val + self.test >= 1:
            raise ValueError(
                f"leaves nothing to train on: val + test is {self.val + self.test:g}, "
                "expected less than 1"
            )
        return self


@dataclass(frozen=True, kw_only=True)
class CohortSpec:
    """A checked cohort.toml.

    Args:
        source: its name in error sentences.
        root: the folder that relative paths start from.
        cohort, split: the sections.
        modalities: the sections `[modalities.<name>]`, in order.
    """

    source: str
    root: Path
    cohort: CohortSection
    split: SplitSection
    modalities: Mapping[str, ModalitySpec]

    @property
    def is_file(self) -> bool:
        """Whether a file says this, which the user may change."""
        return self.source.endswith(".toml")

    @property
    def modality_names(self) -> tuple[str, ...]:
        """M names in order."""
        return tuple(self.modalities)

    @property
    def role_columns(self) -> dict[str, str]:
        """Role (id, label, split, group_by) -> column, for the roles that are given."""
        roles = {
            "id": self.cohort.id,
            "label": self.cohort.label,
            "split": self.split.column,
            "group_by": self.cohort.group_by,
        }
        return {role: column for role, column in roles.items() if column is not None}

    @property
    def long_tables(self) -> dict[str, list[str]]:
        """Path or glob of each long table -> the modalities that are in it."""
        tables: dict[str, list[str]] = {}
        for name, modality in self.modalities.items():
            table = getattr(modality, "table", None)
            if table is not None:
                tables.setdefault(table, []).append(name)
        return tables

    def to_dict(self) -> dict[str, Any]:
        """JSON; `spec_from_dict` reads it back."""
        return {
            "cohort": self.cohort.model_dump(exclude_none=True),
            "split": self.split.model_dump(exclude_unset=True),
            "modalities": {
                name: modality.model_dump() for name, modality in self.modalities.items()
            },
        }


def load_spec(path: str | Path) -> CohortSpec:
    """Read a cohort.toml, given as a file or as its folder.

    Raises:
        InputError: it is absent, unreadable, or says something that cannot be.
    """
    file = Path(path)
    file = file / FILE_NAME if file.is_dir() else file
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise InputError(
            f"{file} does not exist: give a {FILE_NAME} or the folder that holds one"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 text: give a {FILE_NAME} or its folder") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{file} is not valid TOML: {error}") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    return spec_from_dict(data, root=file.parent, source=str(file))


def spec_from_dict(
    data: Mapping[str, Any], *, root: Path, source: str = "the cohort"
) -> CohortSpec:
    """Check the content of a cohort.toml.

    Raises:
        InputError: a key is unknown, absent or wrong, or two roles claim one column.
    """
    _known_keys(data, SECTIONS, source)
    for section in ("cohort", "modalities"):
        if not data.get(section):
            raise InputError(f"{source}: there is no [{section}] section: add one")
    spec = CohortSpec(
        source=source,
        root=root,
        cohort=_section(CohortSection, data["cohort"], f"{source}: [cohort]"),
        split=_section(SplitSection, data.get("split", {}), f"{source}: [split]"),
        modalities=_modalities(data["modalities"], source),
    )
    _check_task(spec)
    _check_roles(spec)
    _check_claims(spec)
    return spec


def _modalities(sections: Any, source: str) -> dict[str, ModalitySpec]:
    if not isinstance(sections, Mapping):
        raise InputError(
            f"{source}: modalities must be sections [modalities.<name>], got {sections!r}"
        )
    return {name: _modality(name, section, source) for name, section in sections.items()}


def _modality(name: str, section: Any, source: str) -> ModalitySpec:
    where = f"{source}: [modalities.{name}]"
    if not name.strip() or "+" in name:
        raise InputError(
            f'{where} is no usable name: it must not be empty or hold a "+", '
            "which joins the names of modalities"
        )
    if not isinstance(section, Mapping) or "kind" not in section:
        raise InputError(
            f'{where} needs a kind: add kind = "tabular" or another of {", ".join(KINDS)}'
        )
    if section["kind"] not in KINDS:
        hint = did_you_mean(str(section["kind"]), KINDS)
        raise InputError(
            f"{where} has the kind {section['kind']!r}, which is none of {', '.join(KINDS)}{hint}"
        )
    return _section(KINDS[section["kind"]].spec, section, where)


def _section(model: type[Section], data: Any, where: str) -> Section:
    if not isinstance(data, Mapping):
        raise InputError(f"{where} must be a section of keys, got {data!r}")
    _known_keys(data, model.model_fields, where)
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        raise InputError(f"{where} {_sentence(error)}") from error


def _known_keys(data: Mapping[str, Any], known: Any, where: str) -> None:
    for key in data:
        if key not in known:
            hint = did_you_mean(key, known) or f" (it may have {', '.join(known)})"
            raise InputError(f'{where} has the unknown key "{key}"{hint}')


def _sentence(error: ValidationError) -> str:
    """The first thing that pydantic found, as the rest of a sentence."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f'needs the key "{key}": add it'
    message = first["msg"].removeprefix("Value error, ").replace("Input should", "should")
    if first["type"] == "value_error":
        return f"{key} {message}".strip()
    return f"{key} {message}, got {first['input']!r}"


def _check_task(spec: CohortSpec) -> None:
    if spec.cohort.task not in SUPPORTED_TASKS:
        raise InputError(
            f'{spec.source}: [cohort] task = "{spec.cohort.task}" is not supported yet: '
            "use binary or multiclass"
        )


def _check_roles(spec: CohortSpec) -> None:
    """One column may serve as both id and group_by, and nothing else twice."""
    seen: dict[str, str] = {}
    for role, column in spec.role_columns.items():
        if column in seen and (seen[column], role) != ("id", "group_by"):
            raise InputError(
                f'{spec.source}: the column "{column}" is both {seen[column]} and {role}: '
                "give two columns"
            )
        seen.setdefault(column, role)


def _check_claims(spec: CohortSpec) -> None:
    """No feature is claimed twice, and none is the id, label, split or person."""
    roles = {column: role for role, column in spec.role_columns.items()}
    owner: dict[str, str] = {}
    for name, modality in spec.modalities.items():
        for column in modality.feature_columns:
            claim = f'{spec.source}: [modalities.{name}] claims the column "{column}", which'
            if column in roles:
                raise InputError(f"{claim} is the {roles[column]}: remove it from the modality")
            if column in owner:
                other = f"[modalities.{owner[column]}]"
                raise InputError(f"{claim} {other} has too: leave it in one of them")
            owner[column] = name
