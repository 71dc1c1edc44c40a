"""Run a benchmark: what was asked for and is not there yet, on an executor, told line by line."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from remind.benchmark.config import BenchmarkConfig, Origin, contenders_to_dict
from remind.benchmark.contenders import Contender, make_contenders
from remind.benchmark.executors import Executor, Processes, Ray
from remind.benchmark.fitting import Fitted, Task, perform
from remind.benchmark.folder import BenchmarkFolder
from remind.benchmark.splits import SplitPlan, make_plan
from remind.benchmark.statistics import TEST
from remind.benchmark.tuning import Trial, propose, search_space
from remind.benchmark.work import Key, Work
from remind.cohort import Cohort
from remind.evaluation.metrics import log_loss
from remind.evaluation.predictions import label_of, prob_of
from remind.lock import alone
from remind.methods import METHODS
from remind.sources import open_cohort

Tell = Callable[[str], object]
EDGES = (50, 200)
"""Sizes of combinations that cut blocks, unless others are asked for."""

MakeExecutor = Callable[[Callable[..., Any], Any], Executor]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for.

    Args:
        methods: names.
        objectives: names; each method's own one if None.
        seeds, folds, budget, tune: see `BenchmarkConfig`.
        edges: see there; None for those of the folder, or `EDGES`.
        split, hide: see `make_plan`.
        sets: "key=value" or "NAME:key=value", see `settings_for`.
        command: that asks for it; empty from Python.
    """

    methods: Sequence[str]
    objectives: Sequence[str] | None = None
    seeds: int = 3
    folds: int = 5
    split: str = "cross-validation"
    hide: Sequence[str] = ()
    budget: int = 1
    tune: str = "once"
    edges: tuple[int, ...] | None = None
    sets: Sequence[str] = ()
    command: str = ""


def run_benchmark(
    source: str | Path | Cohort,
    request: Request,
    out: str | Path,
    make_executor: MakeExecutor,
    tell: Tell = lambda _: None,
) -> list[str]:
    """Do what is asked for and is not there yet.

    Args:
        source: a cohort, or what `open_cohort` takes.
        request: what is asked for.
        out: the folder.
        make_executor: such as `on_processes(2)`.
        tell: is told how it goes, in lines.

    Returns:
        A sentence for each trial or fit that failed; the others went on.

    Raises:
        InputError: the request cannot be, or the folder holds another benchmark, or another process
            is filling it.
    """
    cohort = source if isinstance(source, Cohort) else open_cohort(source)
    contenders = make_contenders(METHODS, request.methods, request.objectives, request.sets)
    plan = make_plan(request.split, request.hide, cohort)
    folder = BenchmarkFolder(out)
    before = folder.config().edges if folder.is_benchmark else EDGES
    edges = before if request.edges is None else request.edges
    asked = _config(source, cohort, contenders, plan, request, edges)
    folds = {  # refused before anything is written
        seed: _splits(plan, cohort, request.folds, seed) for seed in range(request.seeds)
    }
    blind = [contender.name for contender in contenders if not contender.objective]
    if request.objectives is not None and blind:
        tell(f"{', '.join(blind)}: takes no objective, and so takes part once")
    by_name = {contender.name: contender for contender in contenders}
    with alone(Path(out), "remind benchmark", "--out"):
        config = replace(folder.begin(asked), seeds=request.seeds)
        runner = _Runner(cohort, plan, Work(config, list(by_name), folder), by_name, folds, tell)
        if any(runner.work.left().values()):
            runner.run(make_executor(perform, cohort))
    return runner.errors


def on_processes(jobs: int = 1) -> MakeExecutor:
    """Processes of this machine."""
    return lambda function, shared: Processes(function, shared, jobs)


def on_ray(jobs: int | None = None, address: str | None = None) -> MakeExecutor:
    """A Ray cluster."""
    return lambda function, shared: Ray(function, shared, jobs, address)


class _Runner:
    """Feeds an executor with work and keeps what comes back."""

    def __init__(
        self,
        cohort: Cohort,
        plan: SplitPlan,
        work: Work,
        contenders: Mapping[str, Contender],
        splits: dict[int, list[np.ndarray]],
        tell: Tell,
    ) -> None:
        self.cohort, self.plan, self.work = cohort, plan, work
        self.contenders, self.splits, self.tell = contenders, splits, tell
        self.errors: list[str] = []
        self.pace = _Pace()

    def run(self, executor: Executor) -> None:
        """Keep the executor busy until nothing is left."""
        total = sum(self.work.left().values())
        self.tell(f"{total} trials and fits to do, {executor.slots} at a time")
        started: dict[Key, float] = {}
        try:
            while self._submit(executor, started):
                key, outcome = executor.wait()
                assert isinstance(key, Key)
                self.pace.add(key.name, time.perf_counter() - started.pop(key))
                told = (
                    self._failed(key, outcome.error)
                    if outcome.error
                    else self._keep(key, outcome.value)
                )
                left = self.work.left()
                eta = self.pace.left(left, executor.slots)
                self.tell(f"[{total - sum(left.values())}/{total}] {key}: {told}{eta}")
        finally:
            executor.close()

    def _submit(self, executor: Executor, started: dict[Key, float]) -> bool:
        """Begin as much as there is room for; whether anything runs."""
        for key in self.work.ready():
            if len(started) == executor.slots:
                break
            if key not in started:
                executor.submit(key, self._task(key))
                started[key] = time.perf_counter()
        return bool(started)

    def _task(self, key: Key) -> Task:
        contender = self.contenders[key.name]
        settings = replace(contender.settings, seed=key.place.seed)
        search = self.work.search(key.name, key.place)
        params, plan = search.params, self.plan
        if key.number is not None:
            space = search_space(METHODS[contender.method], settings)
            params, plan = propose(space, settings, search.trials, key.place.seed), None
        assert params is not None
        return Task(
            name=key.name,
            settings=settings,
            params=params,
            split=self.splits[key.place.seed][key.place.fold],
            plan=plan,
        )

    def _keep(self, key: Key, value: Trial | Fitted) -> str:
        """Keep what came, and say what it is."""
        self.work.record(key, value)
        if isinstance(value, Fitted):
            test = value.frame.loc[value.frame["split"] == TEST]
            loss = log_loss(label_of(test), prob_of(test))
            return f"{value.cost['seconds']:.1f} s, test log loss {loss:.4f}"
        search = self.work.search(key.name, key.place)
        if search.has_failed:
            self.errors.append(f"{key.name}: every trial was refused, the last: {value.error}")
        if value.value is None:
            return f"{value.seconds:.1f} s, refused: {value.error}"
        return f"{value.seconds:.1f} s, validation log loss {value.value:.4f}"

    def _failed(self, key: Key, error: str) -> str:
        self.work.fail(key)
        self.errors.append(f"{key}: {error}")
        return error


class _Pace:
    """How long a contender takes, and so how long the rest will."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def add(self, name: str, seconds: float) -> None:
        """A trial or a fit of a contender took so long."""
        self.seconds.setdefault(name, []).append(seconds)

    def left(self, left: Mapping[str, int], slots: int) -> str:
        """How many are left and when they will be done, in words."""
        num = sum(left.values())
        if num == 0:
            return ""
        everyone = [value for values in self.seconds.values() for value in values]
        mean = {name: float(np.mean(self.seconds.get(name, everyone))) for name in left}
        seconds = sum(count * mean[name] for name, count in left.items()) / min(slots, num)
        return f"; {num} left, about {duration(seconds)}"


def duration(seconds: float) -> str:
    """In words, such as "3 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _config(
    source: str | Path | Cohort,
    cohort: Cohort,
    contenders: Sequence[Contender],
    plan: SplitPlan,
    request: Request,
    edges: tuple[int, ...],
) -> BenchmarkConfig:
    name = cohort.spec.cohort.name
    return BenchmarkConfig(
        cohort=Origin(
            name=name,
            source=name if isinstance(source, Cohort) else str(source),
            fingerprint=cohort.fingerprint,
            num_patients=len(cohort),
        ),
        split=plan.kind,
        hide=plan.hide,
        folds=request.folds,
        seeds=request.seeds,
        budget=request.budget,
        tune=request.tune,
        edges=edges,
        contenders=contenders_to_dict(contenders),
        commands=(request.command,) if request.command else (),
    )


def _splits(plan: SplitPlan, cohort: Cohort, num: int, seed: int) -> list[np.ndarray]:
    """The split of each patient, fold by fold.

    Raises:
        InputError: there are too few patients for the folds, or nobody to predict in one of them.
    """
    folds = plan.folds(cohort, num, seed)
    if plan.hide:
        for fold in folds:
            plan.tests(fold)
    splits = [fold.split for fold in folds]
    return [split for split in splits if split is not None]
