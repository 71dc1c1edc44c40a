"""What a benchmark is: everything needed to repeat it, as benchmark.toml holds it."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from remind.benchmark.contenders import Contender, without_seed
from remind.errors import InputError
from remind.objectives.checks import check_choice, check_whole

TUNES = ("once", "fold")
FIXED = {
    "split": "--split",
    "hide": "--hide",
    "folds": "--folds",
    "budget": "--budget",
    "tune": "--tune",
}
"""What a benchmark keeps for good, and the option that says it."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The cohort.

    Args:
        name: of its cohort.toml.
        source: as it was given.
        fingerprint: of its content.
        num_patients: in it.
    """

    name: str
    source: str
    fingerprint: str
    num_patients: int


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """The content of benchmark.toml.

    Args:
        cohort: whose patients.
        split: kind of `SplitPlan`.
        hide: modalities of the same.
        folds: of each seed, >= 2.
        seeds: repetitions 0..seeds-1, >= 1.
        budget: trials of each contender, >= 1; the first has the defaults.
        tune: "once" per contender, on the first fold of seed 0, or once per "fold".
        edges: sizes of combinations that cut the blocks of the report, ascending.
        contenders: name to method, objective and settings before tuning.
        commands: that were given.

    Raises:
        InputError: a value is out of its range.
    """

    cohort: Origin
    split: str
    folds: int
    seeds: int
    budget: int
    tune: str
    edges: tuple[int, ...]
    contenders: Mapping[str, Mapping[str, Any]]
    hide: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_whole("folds", self.folds, at_least=2)
        check_whole("seeds", self.seeds, at_least=1)
        check_whole("budget", self.budget, at_least=1)
        check_choice("tune", self.tune, TUNES)
        if not self.contenders:
            raise InputError("a benchmark needs a contender: name one with --methods")

    def to_dict(self) -> dict[str, Any]:
        """As benchmark.toml has it."""
        return {
            **asdict(self),
            "edges": list(self.edges),
            "hide": list(self.hide),
            "contenders": {name: dict(value) for name, value in self.contenders.items()},
            "commands": list(self.commands),
        }

    def settings(self, name: str, seed: int, params: Mapping[str, Any]) -> dict[str, Any]:
        """The flat settings of a fit."""
        return {**self.contenders[name]["settings"], **params, "seed": seed}

    def extended(self, other: "BenchmarkConfig", where: str) -> "BenchmarkConfig":
        """This one with the contenders and seeds of another one in addition, and its edges.

        Args:
            other: asked for now.
            where: the folder, for the error.

        Raises:
            InputError: the other one differs in more than that.
        """
        if self.cohort.fingerprint != other.cohort.fingerprint:
            raise _refused(
                where,
                f'the cohort "{other.cohort.name}" is not the one it was begun on, '
                f'"{self.cohort.name}", or has changed since',
            )
        for key, option in FIXED.items():
            before, now = getattr(self, key), getattr(other, key)
            if before != now:
                raise _refused(
                    where, f"it was begun with {option} {_said(before)}, now {_said(now)}"
                )
        for name in self.contenders:
            if name in other.contenders:
                _check_settings(where, name, self.contenders[name], other.contenders[name])
        return BenchmarkConfig(
            cohort=self.cohort,
            split=self.split,
            hide=self.hide,
            folds=self.folds,
            seeds=max(self.seeds, other.seeds),
            budget=self.budget,
            tune=self.tune,
            edges=other.edges,
            contenders={**self.contenders, **other.contenders},
            commands=tuple(dict.fromkeys([*self.commands, *other.commands])),
        )


def config_from_dict(data: Mapping[str, Any]) -> BenchmarkConfig:
    """The config of `to_dict`.

    Raises:
        KeyError, TypeError: a key is absent or unknown.
    """
    return BenchmarkConfig(
        **{
            **data,
            "cohort": Origin(**data["cohort"]),
            "edges": tuple(data["edges"]),
            "hide": tuple(data.get("hide", ())),
            "commands": tuple(data["commands"]),
        }
    )


def contenders_to_dict(contenders: Sequence[Contender]) -> dict[str, dict[str, Any]]:
    """Name to method, objective and flat settings, as they come back from a file."""
    data = {
        contender.name: {
            "method": contender.method,
            "objective": contender.objective,
            "settings": without_seed(contender.settings),
        }
        for contender in contenders
    }
    return json.loads(json.dumps(data))


def command(words: Sequence[str]) -> str:
    """A command as a shell takes it."""
    return shlex.join(["remind", *words])


def _check_settings(
    where: str, name: str, before: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    old, new = before["settings"], now["settings"]
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    if keys:
        changes = ", ".join(f"{key} ({old.get(key)}, now {new.get(key)})" for key in keys)
        raise _refused(where, f"{name} had other settings: {changes}")


def _said(value: Any) -> Any:
    """A value of an option as it is given."""
    return (",".join(value) or "nothing") if isinstance(value, tuple) else value


def _refused(where: str, what: str) -> InputError:
    return InputError(
        f"{where} holds another benchmark: {what}; ask for the same again, or name "
        "another folder with --out"
    )
