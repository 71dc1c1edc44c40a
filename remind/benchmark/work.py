"""The state of a benchmark: which trials and fits are there, and which can begin."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from remind.benchmark.config import BenchmarkConfig
from remind.benchmark.fitting import Fitted
from remind.benchmark.folder import NOTE, BenchmarkFolder
from remind.benchmark.tuning import Params, Trial, best


class Place(NamedTuple):
    """A fold of a seed."""

    seed: int
    fold: int

    @property
    def part(self) -> str:
        """In names of files."""
        return f"seed{self.seed}-fold{self.fold}"


class Key(NamedTuple):
    """What runs: trial `number` of the search of a contender at a place, or its fit if None."""

    name: str
    place: Place
    number: int | None = None

    def __str__(self) -> str:
        what = "" if self.number is None else f", trial {self.number + 1}"
        return f"{self.name}, seed {self.place.seed}, fold {self.place.fold}{what}"


@dataclass(kw_only=True)
class Search:
    """The search of a contender's settings.

    Args:
        num: trials that are needed; 0 for the defaults without a trial.
        trials: that are there, in order.
        has_failed: whether it cannot go on.
    """

    num: int
    trials: list[Trial] = field(default_factory=list)
    has_failed: bool = False

    @property
    def num_left(self) -> int:
        """Trials to do."""
        return 0 if self.has_failed else self.num - len(self.trials)

    @property
    def params(self) -> Params | None:
        """What to fit with; None while the search goes on, or if it found nothing."""
        if self.num == 0:
            return {}
        winner = best(self.trials) if len(self.trials) >= self.num else None
        return None if winner is None else winner.params


def places(config: BenchmarkConfig) -> list[Place]:
    """Every fold of every seed."""
    return [Place(seed, fold) for seed in range(config.seeds) for fold in range(config.folds)]


class Work:
    """Trials and fits of some contenders in a folder.

    Args:
        config: what the folder says, with the seeds that are asked for.
        names: of the contenders that are asked for.
        folder: where files are.
    """

    def __init__(
        self, config: BenchmarkConfig, names: Sequence[str], folder: BenchmarkFolder
    ) -> None:
        self.config, self.names, self.folder = config, names, folder
        self.searches: dict[tuple[str, Place], Search] = {}
        for place in places(config):
            for name in names:
                at = (name, self._at(place))
                if at not in self.searches:
                    self.searches[at] = self._begin(*at)
        self.over = {
            Key(name, place)
            for place in places(config)
            for name in names
            for file in [self.file(name, place)]
            if file is not None and file.is_file()
        }

    def search(self, name: str, place: Place) -> Search:
        """The search that the fit of a contender at a place depends on."""
        return self.searches[name, self._at(place)]

    def file(self, name: str, place: Place) -> Path | None:
        """Where the predictions of a fit are kept; None while its settings are searched."""
        params = self.search(name, place).params
        if params is None:
            return None
        return self.folder.fit(name, place.part, self.config.settings(name, place.seed, params))

    def ready(self) -> Iterator[Key]:
        """What can begin, in the order to begin it: each trial follows the one before it."""
        for place in places(self.config):
            for name in self.names:
                search = self.search(name, place)
                if search.params is not None:
                    if Key(name, place) not in self.over:
                        yield Key(name, place)
                elif search.num_left and place == self._at(place):
                    yield Key(name, place, len(search.trials))

    def left(self) -> dict[str, int]:
        """Contender -> trials and fits that are still to do."""
        left = dict.fromkeys(self.names, 0)
        for (name, _), search in self.searches.items():
            left[name] += search.num_left
        for place in places(self.config):
            for name in self.names:
                is_lost = self.search(name, place).has_failed
                left[name] += not is_lost and Key(name, place) not in self.over
        return left

    def record(self, key: Key, value: Trial | Fitted) -> None:
        """Keep what a trial or a fit gave."""
        if isinstance(value, Trial):
            search = self.searches[key.name, key.place]
            self.folder.write_trial(key.name, key.place.part, len(search.trials), value)
            search.trials.append(value)
            search.has_failed = not search.num_left and search.params is None
            return
        file = self.file(key.name, key.place)
        assert file is not None
        about = {**value.cost, NOTE: value.note}
        self.folder.write_fit(file, value.frame.assign(fold=key.place.fold), about)
        self.over.add(key)

    def fail(self, key: Key) -> None:
        """A trial or a fit did not end well: what depends on it is left for another time."""
        if key.number is None:
            self.over.add(key)
        else:
            self.searches[key.name, key.place].has_failed = True

    def _begin(self, name: str, place: Place) -> Search:
        if self.config.budget == 1:
            return Search(num=0)
        trials = self.folder.trials(name, place.part)[: self.config.budget]
        search = Search(num=self.config.budget, trials=trials)
        search.has_failed = not search.num_left and search.params is None
        return search

    def _at(self, place: Place) -> Place:
        """Where settings are searched."""
        return Place(0, 0) if self.config.tune == "once" else place
