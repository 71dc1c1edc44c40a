"""What an experiment is: cohort, mask, methods, head and tail, and the figures published of it.

title = "In-hospital death on MIMIC-IV"
source = "mimic-iv"            # of remind prepare
seeds = 3                      # seeds 0, 1, 2
metrics = ["accuracy", "f1"]
notes = ["what a reader must know, a sentence each"]

[prepare]                      # options of the source; {root} stands for --root
task = "in-hospital-mortality"

[mask]                         # a mask spec, if values are hidden on purpose

[bands]
tail_share = 0.15              # tail: combinations of at most this share of training patients

[arms.REMIND]                  # the first arm is what is reproduced, others are compared to it
method = "paper"
set = {lr = 5e-5}              # keys of a run's config.toml

[[published]]
arm = "REMIND"
block = "all"                  # all, head or tail
metric = "accuracy"
average = "patients"           # patients, groups or unstated
percent = 90.8
versus = "group DRO"           # the figure is the difference to this arm
origin = "where it is from"
"""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from remind.errors import InputError, did_you_mean
from remind.evaluation import METRICS
from remind.methods import find_method
from remind.sources.masking import MaskSpec, mask_from_dict
from remind.sources.masking.sections import read_toml, section
from remind.training import Settings, with_overrides

CONFIGS = resources.files("remind") / "configs" / "paper"
Block = Literal["all", "head", "tail"]
BLOCKS: tuple[Block, ...] = ("all", "head", "tail")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class BandsPart(_Part):
    """Which combinations are tail: those of at most `tail_share` of the training patients."""

    tail_share: float = Field(default=0.15, gt=0, lt=1)


class Arm(_Part):
    """A method and its settings."""

    method: str
    set: dict[str, bool | int | float | str] = Field(default_factory=dict)

    def settings(self, seed: int, overrides: Sequence[str] = ()) -> Settings:
        """The settings of a run.

        Args:
            seed: of the run.
            overrides: `key=value`, which win.

        Raises:
            InputError: an unknown method or key, or a value of the wrong type or range.
        """
        pairs = [f"{key}={_text(value)}" for key, value in self.set.items()]
        default = find_method(self.method).default_settings()
        return with_overrides(default, [*pairs, *overrides, f"seed={seed}"])


class Published(_Part):
    """A figure of the paper, in percent."""

    arm: str
    block: Block = "all"
    metric: str
    average: Literal["patients", "groups", "unstated"] = "unstated"
    percent: float
    versus: str | None = None
    origin: str


class Experiment(_Part):
    """A checked file; see the module for its keys."""

    title: str
    source: str
    seeds: int = Field(default=3, ge=1)
    metrics: list[str] = Field(min_length=1)
    notes: list[str] = Field(default_factory=list)
    needs: list[str] = Field(default_factory=list)
    prepare: dict[str, Any] = Field(default_factory=dict)
    mask: dict[str, Any] | None = None
    bands: BandsPart = Field(default_factory=BandsPart)
    arms: dict[str, Arm] = Field(min_length=1)
    published: list[Published] = Field(default_factory=list)

    @field_validator("metrics")
    @classmethod
    def _known(cls, metrics: list[str]) -> list[str]:
        for name in metrics:
            if name not in METRICS:
                raise ValueError(f'names "{name}", which is none of {", ".join(METRICS)}')
        return metrics

    @model_validator(mode="after")
    def _of_some_use(self) -> Self:
        for figure in self.published:
            if figure.metric not in self.metrics:
                raise ValueError(f'published has "{figure.metric}", which metrics lacks')
        return self

    @property
    def main(self) -> str:
        """The arm that is reproduced."""
        return next(iter(self.arms))

    def mask_spec(self) -> MaskSpec | None:
        """The checked mask, if there is one.

        Raises:
            InputError: it says something that cannot be.
        """
        return None if self.mask is None else mask_from_dict(self.mask, where="[mask]")

    def options(self, root: Path | None, given: Mapping[str, Any]) -> dict[str, Any]:
        """Options of the source: those of the file, found below the root, and given, which win.

        Raises:
            InputError: one that it needs is neither given nor below the root.
        """
        options = {
            name: value if root is None else _filled(value, root)
            for name, value in self.prepare.items()
        }
        for name in self.needs:
            if root is not None and (root / name).is_dir():
                options[name] = root / name
            elif name not in given:
                raise InputError(
                    f'"{self.title}" needs --{name}: give its folder, or put it into {root}/{name}'
                )
        return {**options, **given}


def load_experiment(name: str | Path) -> Experiment:
    """Read one of the paper's experiments by name, or a file of yours.

    Raises:
        InputError: there is none, or it says something that cannot be.
    """
    built_in = {Path(file.name).stem: file for file in CONFIGS.iterdir()}
    if str(name) in built_in:
        with resources.as_file(built_in[str(name)]) as file:
            return section(Experiment, read_toml(file, "an experiment"), str(name))
    if Path(name).suffix != ".toml":
        hint = did_you_mean(str(name), built_in) or f" (there are {', '.join(sorted(built_in))})"
        raise InputError(f'no experiment "{name}"{hint}, and it is no .toml file of one')
    return section(Experiment, read_toml(Path(name), "an experiment"), str(name))


def _filled(value: Any, root: Path) -> Any:
    if isinstance(value, str) and "{root}" in value:
        return Path(value.replace("{root}", str(root)))
    return value


def _text(value: bool | int | float | str) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_request(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON."""
    return {
        name: str(value) if isinstance(value, Path) else value for name, value in options.items()
    }
