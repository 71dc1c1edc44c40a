"""Tuning: which settings to try next, as a pure function of what was tried.

Tree-structured Parzen estimator (Bergstra et al. 2011) of optuna. The sampler of trial t is seeded
by the seed and t, and the study is rebuilt from the trials before it, so that a search that was
killed proposes what one that was not would have. Trial 0 has the defaults. A default that lies
outside its dimension is tried all the same, but tells the estimator nothing of this dimension.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from remind.cohort.extras import require
from remind.training import Method, Settings, with_overrides
from remind.training.search import OF_OBJECTIVE, Choice, Range, Space

Params = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What was tried.

    Args:
        params: keys of `--set` to values.
        value: mean log loss on the validation split, of what the objective takes losses of; None if
            the fit was refused.
        seconds: of fit and prediction.
        error: why it was refused; empty if it was not.
    """

    params: Params
    value: float | None
    seconds: float
    error: str = ""


def search_space(method: Method, settings: Settings) -> Space:
    """What a tuner may try of a method with the objective of the settings, if it takes one."""
    of_objective = {} if settings.train is None else OF_OBJECTIVE[settings.objective]
    return {**method.space, **of_objective}


def propose(space: Space, settings: Settings, trials: Sequence[Trial], seed: int) -> Params:
    """The params of the next trial.

    Args:
        space: `search_space` of the contender.
        settings: the contender's before tuning.
        trials: all before, in order.
        seed: of the search.
    """
    flat = settings.to_dict()
    if not trials:
        return {key: flat[key] for key in space}
    optuna = require("optuna", "benchmark", "tuning (--budget above 1)")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    number = np.random.SeedSequence([seed, len(trials)]).generate_state(1)[0]
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=int(number)))
    dimensions = {key: _distribution(optuna, dimension) for key, dimension in space.items()}
    for trial in trials:
        study.add_trial(_frozen(optuna, trial, space, dimensions))
    return study.ask(dimensions).params


def tuned(settings: Settings, params: Params) -> Settings:
    """The settings with the params of a trial.

    Raises:
        InputError: a key is unknown, or a value is out of its range.
    """
    return with_overrides(settings, [f"{key}={_word(value)}" for key, value in params.items()])


def best(trials: Sequence[Trial]) -> Trial | None:
    """The trial of the smallest value, the first of equal ones; None if all were refused."""
    done = [trial for trial in trials if trial.value is not None]
    return min(done, key=lambda trial: float(trial.value or 0.0), default=None)


def holds(dimension: Choice | Range, value: Any) -> bool:
    """Whether a value lies in a dimension."""
    if isinstance(dimension, Choice):
        return value in dimension.values
    return dimension.low <= value <= dimension.high


def _distribution(optuna: Any, dimension: Choice | Range) -> Any:
    kinds = optuna.distributions
    if isinstance(dimension, Choice):
        return kinds.CategoricalDistribution(dimension.values)
    if dimension.whole:
        low, high = int(dimension.low), int(dimension.high)
        return kinds.IntDistribution(low, high, log=dimension.log)
    return kinds.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _frozen(optuna: Any, trial: Trial, space: Space, dimensions: Mapping[str, Any]) -> Any:
    """A trial as optuna keeps it."""
    known = {
        key: value
        for key, value in trial.params.items()
        if key in space and holds(space[key], value)  # another version had other dimensions
    }
    states = optuna.trial.TrialState
    return optuna.trial.create_trial(
        state=states.FAIL if trial.value is None else states.COMPLETE,
        params=known,
        distributions={key: dimensions[key] for key in known},
        value=trial.value,
    )


def _word(value: Any) -> str:
    """A value as `--set` reads it; a float comes back exactly."""
    return str(value).lower() if isinstance(value, bool) else str(value)
