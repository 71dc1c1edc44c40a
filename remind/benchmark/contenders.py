"""Contenders: a method with an objective and its settings, and who is meant by a setting."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from remind.errors import InputError, did_you_mean
from remind.training import Method, Settings, with_overrides
from remind.training.settings import check_objective


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Who takes part.

    Args:
        method: its name.
        objective: its name; empty for a method that takes none.
        settings: before tuning, with seed 0.
    """

    method: str
    objective: str
    settings: Settings

    @property
    def name(self) -> str:
        """Such as "lightgbm" or "default+erm"."""
        return f"{self.method}+{self.objective}" if self.objective else self.method


def make_contenders(
    methods: Mapping[str, Method],
    names: Sequence[str],
    objectives: Sequence[str] | None = None,
    sets: Sequence[str] = (),
) -> list[Contender]:
    """Every method with every objective; a method that takes no objective comes once.

    Args:
        methods: all by name.
        names: of those that take part.
        objectives: names; each method's own one if None.
        sets: "key=value" or "NAME:key=value", see `settings_for`.

    Raises:
        InputError: no such objective or key, or a setting for nobody.
    """
    for name in objectives or ():
        check_objective(name)
    bases: dict[tuple[str, str], Settings] = {}
    for name in names:
        default = methods[name].default_settings()
        own = [""] if default.train is None else list(objectives or [default.objective])
        for objective in own:
            override = [f"objective={objective}"] if objective else []
            bases[name, objective] = with_overrides(default, override)
    contenders = [
        Contender(method=name, objective=objective, settings=base)
        for (name, objective), base in bases.items()
    ]
    check_sets(sets, [contender.name for contender in contenders])
    _check_for_all(sets, contenders)
    return [
        replace(contender, settings=settings_for(contender.name, contender.settings, sets))
        for contender in contenders
    ]


def settings_for(name: str, base: Settings, sets: Sequence[str]) -> Settings:
    """The settings of a contender with what `--set` says to it.

    Args:
        name: such as "lightgbm" or "default+erm".
        base: its own settings.
        sets: "key=value" for all, or "NAME:key=value" for a contender, or for a part of its name.

    Raises:
        InputError: an unknown key, or a value of the wrong type or range.
    """
    mine = ("", name, *name.split("+"))
    pairs = [_addressed(text) for text in sets]
    return with_overrides(base, [override for to, override in pairs if to in mine])


def without_seed(settings: Settings) -> dict[str, Any]:
    """What the fits of a contender have in common, for the report."""
    return {key: value for key, value in settings.to_dict().items() if key != "seed"}


def check_sets(sets: Sequence[str], names: Iterable[str]) -> None:
    """Refuse a setting for nobody.

    Raises:
        InputError: the name before the colon is that of no contender.
    """
    known = {part for name in names for part in (name, *name.split("+"))} | {""}
    for text in sets:
        to, _ = _addressed(text)
        if to not in known:
            near = did_you_mean(to, known - {""})
            raise InputError(f'--set {text} is for "{to}", which does not take part{near}')


def chosen(text: str, known: Iterable[str], what: str) -> list[str]:
    """The names of a list with commas.

    Raises:
        InputError: a name is not known.
    """
    known = list(known)
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            near = did_you_mean(name, known)
            raise InputError(f'no {what} "{name}"{near} (there are {", ".join(known)})')
    return list(dict.fromkeys(names))


def _check_for_all(sets: Sequence[str], contenders: Sequence[Contender]) -> None:
    """Refuse a setting for all that only some have."""
    for to, override in map(_addressed, sets):
        key = override.partition("=")[0].strip()
        have = [one.name for one in contenders if key in one.settings.to_dict()]
        if to or len(have) in (0, len(contenders)):
            continue
        lacks = next(one.name for one in contenders if one.name not in have)
        raise InputError(
            f'--set {override} is for all, but {lacks} has no setting "{key}": say whom it is for, '
            f"as in --set {have[0]}:{override}"
        )


def _addressed(text: str) -> tuple[str, str]:
    """To whom a setting is addressed ("" for all), and the setting."""
    before, sign, _ = text.partition("=")
    to, colon, _ = before.partition(":")
    if not sign:
        raise InputError(f'--set takes key=value or NAME:key=value, got "{text}"')
    return (to, text[len(to) + 1 :]) if colon else ("", text)
