"""The report of a benchmark's folder: everything that is shown, and the files that show it."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from remind.benchmark import tables
from remind.benchmark.config import BenchmarkConfig
from remind.benchmark.fitting import COSTS
from remind.benchmark.folder import NOTE, VERSIONS, BenchmarkFolder
from remind.benchmark.ranks import draw, ranks
from remind.benchmark.splits import block_of_size, size_blocks
from remind.benchmark.statistics import (
    LEVEL,
    TEST,
    Measured,
    Panel,
    bootstrap_seed,
    figures,
    make_panel,
    measure,
)
from remind.benchmark.work import Work, places
from remind.errors import InputError, did_you_mean
from remind.evaluation.bootstrap import NUM_BOOT
from remind.evaluation.predictions import PROB, classes_of, positive_of, write_whole
from remind.training.files import write_json, write_text

METRICS_SHOWN = ("auroc", "log_loss")
PREDICTIONS = "predictions.parquet"
RESULTS = "results"
PICTURE = "cd.svg"
COLUMNS = (
    "method",
    "objective",
    "contender",
    "seed",
    "fold",
    "split",
    "id",
    "person",
    "label",
    "group",
    "n_train",
    "band",
    "size",
    "block",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    """What a folder holds.

    Args:
        config: of the benchmark.
        frames: predictions of the contenders that have all folds of a seed, of such seeds only,
            with the column "block".
        costs: mean over their fits, and what the search took.
        params: what the search of each found, by place.
        incomplete: contenders that have not all folds of all seeds -> [fits there, fits needed].
        notes: contenders that had to do something otherwise than published -> what.
        versions: package -> those that fits were made with, of packages with more than one.
    """

    config: BenchmarkConfig
    frames: dict[str, pd.DataFrame]
    costs: dict[str, dict[str, float | None]]
    params: dict[str, dict[str, Any]]
    incomplete: dict[str, list[int]]
    notes: dict[str, str]
    versions: dict[str, list[str]]

    @property
    def seeds(self) -> dict[str, list[int]]:
        """Contender -> the seeds that it has."""
        return self.panel.seeds if self.frames else {}

    @cached_property
    def panel(self) -> Panel:
        """Of the contenders; there must be one."""
        return make_panel(self.frames, size_blocks(self.config.edges)[::-1])

    @property
    def positive(self) -> str | None:
        """The class that F1 and AUPRC are of; None beyond two classes, and without a contender."""
        frame = next(iter(self.frames.values()), None)
        return None if frame is None else positive_of(classes_of(frame))

    def measured(self, metrics: Sequence[str], num_boot: int) -> Measured:
        """Figures of the contenders, with replicates."""
        seed = bootstrap_seed(self.config.cohort.fingerprint)
        return measure(self.panel, metrics, num_boot=num_boot, seed=seed)


def load(folder: BenchmarkFolder, edges: tuple[int, ...] | None = None) -> Loaded:
    """Read what is there.

    Args:
        folder: of a benchmark.
        edges: of the blocks; those it was run with if None.

    Raises:
        InputError: it is no folder of a benchmark, or a file is damaged.
    """
    config = folder.config()
    config = config if edges is None else replace(config, edges=edges)
    work = Work(config, list(config.contenders), folder)
    loaded = Loaded(
        config=config, frames={}, costs={}, params={}, incomplete={}, notes={}, versions={}
    )
    seen: dict[str, set[str]] = defaultdict(set)
    for name in config.contenders:
        files = {place: work.file(name, place) for place in places(config)}
        kept = {place: file for place, file in files.items() if file and file.is_file()}
        if len(kept) < len(files):
            loaded.incomplete[name] = [len(kept), len(files)]
        num_folds = Counter(place.seed for place in kept)
        read = [
            folder.read_fit(file)
            for place, file in kept.items()
            if num_folds[place.seed] == config.folds
        ]
        if not read:
            continue
        for package, version in (v for _, cost in read for v in cost.get(VERSIONS, {}).items()):
            seen[package].add(version)
        notes = dict.fromkeys(cost[NOTE] for _, cost in read if cost.get(NOTE))
        if notes:
            loaded.notes[name] = "; ".join(notes)
        frame = pd.concat([frame for frame, _ in read], ignore_index=True)
        block = block_of_size(frame["size"].to_numpy(), config.edges)
        loaded.frames[name] = frame.assign(block=block)
        own = {place: search for (n, place), search in work.searches.items() if n == name}
        trials = [trial for search in own.values() for trial in search.trials]
        loaded.costs[name] = {
            **{key: _mean([cost[key] for _, cost in read]) for key in COSTS},
            "trials": len(trials),
            "search_seconds": sum(trial.seconds for trial in trials),
        }
        if trials:
            loaded.params[name] = {place.part: dict(s.params or {}) for place, s in own.items()}
    loaded.versions.update({name: sorted(found) for name, found in seen.items() if len(found) > 1})
    return loaded


def make_report(
    path: str | Path,
    *,
    reference: str | None = None,
    metrics: Sequence[str] = METRICS_SHOWN,
    edges: tuple[int, ...] | None = None,
    num_boot: int = NUM_BOOT,
) -> dict[str, Any]:
    """Judge what a folder holds and write the report's files into it.

    Args:
        path: the folder.
        reference: a contender, or the method of one; the first that has a seed if None, or if it
            has none yet.
        metrics: names; contenders are ranked by the first.
        edges: sizes that cut the blocks; those it was run with if None.
        num_boot: resamples of persons.

    Returns:
        What results.json holds.

    Raises:
        InputError: it is no folder of a benchmark, or the reference does not take part.
    """
    folder = BenchmarkFolder(path)
    loaded = load(folder, edges)
    config = loaded.config
    if reference is not None:
        reference = find_contender(reference, config.contenders)
    result: dict[str, Any] = {
        "cohort": config.to_dict()["cohort"],
        "commands": list(config.commands),
        **setup_of(config),
        "positive": loaded.positive,
        "edges": list(config.edges),
        "metrics": list(metrics),
        "bootstrap": {"unit": "person", "num_boot": num_boot, "level": LEVEL},
        "reference": None,
        "blocks": {},
        "ranks": None,
        "cost": loaded.costs,
        "seeds_of": loaded.seeds,
        "found": loaded.params,
        "incomplete": loaded.incomplete,
        "notes": loaded.notes,
        "versions_differ": loaded.versions,
    }
    if not loaded.frames:
        return result
    result["reference"] = reference if reference in loaded.frames else next(iter(loaded.frames))
    by_block = figures(loaded.measured(metrics, num_boot), result["reference"])
    num = count_patients(loaded)
    result["blocks"] = {
        name: {"n": num[name], "contenders": values} for name, values in by_block.items()
    }
    result["ranks"] = ranks(as_observed(loaded), metrics[0])
    write_files(folder.path, loaded, result)
    return result


def setup_of(config: BenchmarkConfig) -> dict[str, Any]:
    """What was done to every contender, as reports hold it."""
    keys = ("split", "folds", "seeds", "budget", "tune")
    return {**{key: getattr(config, key) for key in keys}, "hide": list(config.hide)}


def find_contender(name: str, known: Mapping[str, Any]) -> str:
    """A contender by its name, or by its method if that has one objective only.

    Raises:
        InputError: there is none, or several.
    """
    if name in known:
        return name
    own = [contender for contender in known if contender.partition("+")[0] == name]
    if len(own) == 1:
        return own[0]
    if own:
        raise InputError(f'"{name}" could be {" or ".join(own)}: name one of them')
    near = did_you_mean(name, known) or f" (there are {', '.join(known)})"
    raise InputError(f'no contender "{name}"{near}')


def as_observed(loaded: Loaded) -> dict[str, pd.DataFrame]:
    """Contender -> predictions of the seeds that all have, no modality hidden."""
    common = sorted(set.intersection(*map(set, loaded.seeds.values())))
    return {
        name: frame.loc[(frame["split"] == TEST) & frame["seed"].isin(common)]
        for name, frame in loaded.frames.items()
    }


def count_patients(loaded: Loaded) -> dict[str, int]:
    """Block -> distinct patients."""
    panel = loaded.panel
    return {name: len(np.unique(panel.ids[rows])) for name, rows in panel.blocks.items()}


def write_files(path: Path, loaded: Loaded, result: dict[str, Any]) -> None:
    """Write predictions.parquet, results.json, .md, .csv, .tex, cost.csv and cd.svg."""
    frame = tidy(loaded)
    write_whole(path / PREDICTIONS, lambda file: frame.to_parquet(file, index=False))
    if result["ranks"]:
        draw(result["ranks"], path / PICTURE)
    else:
        (path / PICTURE).unlink(missing_ok=True)
    write_json(path / f"{RESULTS}.json", result)
    write_text(path / f"{RESULTS}.md", tables.markdown(result))
    write_text(path / f"{RESULTS}.csv", tables.csv(result))
    write_text(path / f"{RESULTS}.tex", tables.latex(result))
    write_text(path / "cost.csv", tables.cost_csv(result))


def tidy(loaded: Loaded) -> pd.DataFrame:
    """A row per contender, seed, fold, patient and modality that is hidden, if one is."""
    frames = []
    for name, frame in loaded.frames.items():
        about = loaded.config.contenders[name]
        frames.append(
            frame.assign(contender=name, method=about["method"], objective=about["objective"])
        )
    together = pd.concat(frames, ignore_index=True)
    probabilities = [column for column in together if str(column).startswith(PROB)]
    return together.loc[:, [*COLUMNS[:9], *probabilities, *COLUMNS[9:]]]


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if len(defined) == len(values) else None
