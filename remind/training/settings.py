"""Settings: everything that a fit depends on but the cohort, as one flat list of keys."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from remind.errors import InputError, did_you_mean
from remind.objectives import OBJECTIVES
from remind.objectives.checks import check_whole
from remind.training.config import TrainConfig

OWN_KEYS = {
    "seed": int,
    "bands_head": int,
    "bands_medium": int,
    "max_bins": int,
    "summaries": bool,
}
"""Keys of every method."""

MAX_SEED = 2**32 - 1
"""The largest that all libraries take."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What config.toml says about a fit.

    Args:
        method: name of the method.
        objective: key of `OBJECTIVES`; of no meaning without `train`.
        seed: fixes everything that is random, from 0 to 2^32 - 1.
        bands_head, bands_medium: thresholds of the bands.
        max_bins: most intervals between knots of a numeric column.
        summaries: whether plain columns about images, signals, series and the like stand beside
            what their encoders learn; of no meaning without `train`.
        model: a frozen dataclass, the method's own.
        train: None for a method that has no training loop, and so no objective.
        objective_options: fields of the objective's `Config`; those left out get their defaults.

    Raises:
        InputError: no such objective or option, or a value out of its range.
    """

    method: str
    model: Any
    train: TrainConfig | None = None
    objective: str = "erm"
    objective_options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    bands_head: int = 100
    bands_medium: int = 20
    max_bins: int = 48
    summaries: bool = True

    def __post_init__(self) -> None:
        check_whole("seed", self.seed, at_least=0, at_most=MAX_SEED)
        check_whole("bands_medium", self.bands_medium, at_least=1)
        check_whole("bands_head", self.bands_head, at_least=self.bands_medium)
        check_whole("max_bins", self.max_bins, at_least=1)
        check_objective(self.objective)
        options = asdict(OBJECTIVES[self.objective].Config(**self.objective_options))
        object.__setattr__(self, "objective_options", options)

    def to_dict(self) -> dict[str, Any]:
        """Flat: method, own keys, then those of model, training and objective."""
        flat = {"method": self.method, **{key: getattr(self, key) for key in OWN_KEYS}}
        flat |= asdict(self.model)
        if self.train is not None:
            flat |= {**asdict(self.train), "objective": self.objective, **self.objective_options}
        return flat


def settings_from_dict(data: Mapping[str, Any], default: Settings) -> Settings:
    """The settings of `to_dict`, with the types of a default of the same method.

    Raises:
        InputError: a key is unknown, absent or of the wrong type.
    """
    default = _with_objective(default, data.get("objective", default.objective))
    types = _types(default)
    for key in types:
        if key not in data:
            raise InputError(f'config.toml lacks the key "{key}": another version wrote it')
    values = {key: _typed(key, value, types) for key, value in data.items() if key != "method"}
    return _replaced(default, values)


def with_overrides(settings: Settings, overrides: Sequence[str]) -> Settings:
    """The settings with some `key=value`, keys being those of config.toml.

    Another objective brings its own options at their defaults. Of a repeated key the last counts.

    Raises:
        InputError: an unknown key, with the nearest ones, or a value of the wrong type or range.
    """
    pairs = dict(_pair(override) for override in overrides)
    if settings.train is not None:
        settings = _with_objective(settings, pairs.pop("objective", settings.objective))
    types = _types(settings)
    return _replaced(settings, {key: _parsed(key, text, types) for key, text in pairs.items()})


def _with_objective(settings: Settings, name: str) -> Settings:
    if name == settings.objective:
        return settings
    return replace(settings, objective=name, objective_options={})


def check_objective(name: str) -> None:
    """Refuse a name that is not in `OBJECTIVES`.

    Raises:
        InputError: with those that there are.
    """
    if name not in OBJECTIVES:
        near = did_you_mean(str(name), OBJECTIVES)
        raise InputError(f'no objective "{name}"{near} (there are {", ".join(OBJECTIVES)})')


def _types(settings: Settings) -> dict[str, Any]:
    """Flat key -> annotation."""
    types: dict[str, Any] = dict(OWN_KEYS)
    for config in _configs(settings):
        hints = get_type_hints(config)
        for item in fields(config):
            assert item.name not in types | {"method": str, "objective": str}, item.name
            types[item.name] = hints[item.name]
    if settings.train is not None:
        types["objective"] = str
    return types


def _configs(settings: Settings) -> list[type]:
    """The dataclasses whose fields are keys, beside the settings' own."""
    if settings.train is None:
        return [type(settings.model)]
    return [type(settings.model), TrainConfig, OBJECTIVES[settings.objective].Config]


def _replaced(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """Put every value where its key belongs."""

    def of(config: Any) -> dict[str, Any]:
        names = [item.name for item in fields(config)]
        return {name: values[name] for name in names if name in values}

    changes: dict[str, Any] = {key: values[key] for key in OWN_KEYS if key in values}
    changes["model"] = replace(settings.model, **of(settings.model))
    if settings.train is not None:
        options = of(OBJECTIVES[settings.objective].Config)
        changes["train"] = replace(settings.train, **of(settings.train))
        changes["objective_options"] = {**settings.objective_options, **options}
    return replace(settings, **changes)


def _pair(override: str) -> tuple[str, str]:
    key, sign, value = override.partition("=")
    if not sign or not key.strip():
        raise InputError(f'a setting is given as key=value, got "{override}"')
    return key.strip(), value.strip()


def _known(key: str, types: Mapping[str, Any]) -> Any:
    if key in types:
        return types[key]
    near = did_you_mean(key, types) or f" (there are {', '.join(types)})"
    raise InputError(f'no setting "{key}"{near}')


def _parsed(key: str, text: str, types: Mapping[str, Any]) -> Any:
    """The value that a text stands for."""
    kind = _known(key, types)
    if kind is bool and text in ("true", "false"):
        return text == "true"
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return _typed(key, text, types)


def _typed(key: str, value: Any, types: Mapping[str, Any]) -> Any:
    """The value, if it has the type of its key."""
    kind = _known(key, types)
    if get_origin(kind) is Literal:
        words = get_args(kind)
        if value in words:
            return value
        raise InputError(f'{key} must be {" or ".join(words)}, got "{value}"')
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise InputError(f'{key} must be {_NOUNS[kind]}, got "{value}"')
    return value


_NOUNS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
