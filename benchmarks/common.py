"""What the benchmarks share: fits that are kept in files, run side by side, and shown as tables.

A fit is kept under a name with a hash of its settings and of its cohort (splits included), so
that a killed benchmark goes on where it was and another setting is another file. The hash knows
nothing of the code of remind: after a change of the code, start with an empty folder.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from remind.benchmark.executors import Outcome, Processes, call
from remind.cohort import Cohort
from remind.errors import InputError
from remind.evaluation import read_predictions, write_predictions
from remind.methods import METHODS
from remind.training import Settings, fit_run


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """One fit of a benchmark, and where its predictions for the split "test" are kept.

    Args:
        name: of the contender; the predictions bear it as their method.
        part: which repetition, such as "seed0-fold1".
        settings: of a method in `METHODS`.
        cohort: with the splits of this fit.
        folder: of the benchmark.
    """

    name: str
    part: str
    settings: Settings
    cohort: Cohort
    folder: Path

    @property
    def file(self) -> Path:
        """Its name tells settings, cohort and splits apart."""
        content = json.dumps([self.settings.to_dict(), self.cohort.fingerprint], sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        return self.folder / f"{self.name}-{self.part}-{digest}.parquet"

    def run(self) -> None:
        """Fit, predict and write: predictions with a column "seconds", of fit and prediction."""
        start = time.perf_counter()
        run = fit_run(self.cohort, METHODS[self.settings.method], self.settings)
        frame = run.predictions("test", self.cohort)
        seconds = time.perf_counter() - start
        write_predictions(frame.assign(method=self.name, seconds=seconds), self.file)


def run_fits(fits: Sequence[Fit], jobs: int) -> list[str]:
    """Run the fits that are not kept yet; tell on stderr how it goes.

    Args:
        fits: in the order to run them.
        jobs: processes side by side, one thread each; 1 runs them in this process.

    Returns:
        A sentence for each fit that failed; the others go on.
    """
    missing = [fit for fit in fits if not fit.file.exists()]
    for folder in {fit.folder for fit in missing}:
        folder.mkdir(parents=True, exist_ok=True)
    errors: list[str] = []
    results = _side_by_side(missing, jobs) if jobs > 1 else _one_by_one(missing)
    for number, (fit, outcome) in enumerate(results, start=1):
        told = f"{fit.name} {fit.part}: {outcome.error or outcome.value}"
        print(f"[{number}/{len(missing)}] {told}", file=sys.stderr)
        if outcome.error:
            errors.append(told)
    return errors


def complete(fits: Iterable[Fit]) -> tuple[dict[str, pd.DataFrame], dict[str, list[int]]]:
    """Read the contenders whose fits are all kept.

    Returns:
        Contender -> predictions of its fits, and incomplete contender -> [fits kept, fits needed].
    """
    fits_of: dict[str, list[Fit]] = {}
    for fit in fits:
        fits_of.setdefault(fit.name, []).append(fit)
    frames: dict[str, pd.DataFrame] = {}
    incomplete: dict[str, list[int]] = {}
    for name, own in fits_of.items():
        files = [fit.file for fit in own]
        kept = [file for file in files if file.exists()]
        if len(kept) == len(files):
            frames[name] = pd.concat([read_predictions(file) for file in kept], ignore_index=True)
        else:
            incomplete[name] = [len(kept), len(files)]
    return frames, incomplete


def seconds_per_fit(frame: pd.DataFrame) -> float:
    """Mean over the fits of a table, which take different times."""
    return float(np.unique(frame["seconds"]).mean())


def base_parser(description: str) -> argparse.ArgumentParser:
    """The options of every benchmark."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seeds", type=at_least(1), default=3, help="repetitions")
    parser.add_argument("--out", type=Path, help="folder of the fits (runs/benchmark/<cohort>)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="sets",
        metavar="[NAME:]key=value",
        help="a setting, for all or for NAME; may be repeated",
    )
    parser.add_argument("--jobs", type=at_least(1), default=1, help="fits side by side")
    parser.add_argument("--report", action="store_true", help="fit nothing, show what is there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def at_least(low: int) -> Callable[[str], int]:
    """An argparse type: a whole number from `low` on."""

    def whole_number(text: str) -> int:
        if int(text) < low:
            raise argparse.ArgumentTypeError(f"must be at least {low}, got {text}")
        return int(text)

    return whole_number


def exit_status(main: Callable[[], int]) -> int:
    """Run a benchmark; wrong input is one sentence on stderr and status 2."""
    try:
        return main()
    except InputError as error:
        print(error, file=sys.stderr)
        return 2


def _attempt(_: None, fit: Fit) -> str:
    """What was fitted."""
    start = time.perf_counter()
    fit.run()
    return f"{time.perf_counter() - start:.0f} s"


def _one_by_one(fits: Sequence[Fit]) -> Iterable[tuple[Fit, Outcome]]:
    """Run fits in this process."""
    for fit in fits:
        yield fit, call((_attempt, None), fit)


def _side_by_side(fits: Sequence[Fit], jobs: int) -> Iterable[tuple[Fit, Outcome]]:
    """Run each fit in a process of its own with one thread; yield as they end."""
    waiting, num_running = iter(fits), 0
    executor = Processes(_attempt, None, jobs)
    try:
        while True:
            for fit in islice(waiting, executor.slots - num_running):
                executor.submit(fit, fit)
                num_running += 1
            if num_running == 0:
                return
            fit, outcome = executor.wait()
            assert isinstance(fit, Fit)
            num_running -= 1
            yield fit, outcome
    finally:
        executor.close()
