"""What the benchmarks share: fits that are kept in files, run side by side, and shown as tables.

A fit is kept under a name with a hash of its settings and of its cohort (splits included), so
that a killed benchmark goes on where it was and another setting is another file. The hash knows
nothing of the code of remind: after a change of the code, start with an empty folder.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from remind.cohort import Cohort
from remind.errors import InputError, did_you_mean
from remind.evaluation import read_predictions, write_predictions
from remind.methods import METHODS
from remind.training import Settings, fit_run, with_overrides


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
    results = _side_by_side(missing, jobs) if jobs > 1 else map(_attempt, missing)
    for number, (told, error) in enumerate(results, start=1):
        print(f"[{number}/{len(missing)}] {told}{error and ': '}{error}", file=sys.stderr)
        if error:
            errors.append(f"{told}: {error}")
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


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """A table in Markdown whose first `left` columns are words and the others figures."""
    ruler = ["---" if column < left else "--:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ruler, *rows)) + "\n"


def figure(value: float | None, decimals: int = 4, *, sign: bool = False) -> str:
    """A number for a table; what is undefined is "–"."""
    if value is None:
        return "–"
    return f"{value:+.{decimals}f}" if sign else f"{value:.{decimals}f}"


def incomplete_text(incomplete: dict[str, list[int]]) -> str:
    """A line per contender that has not all its fits."""
    return "".join(
        f"{name}: not shown, {done} of {needed} fits are there\n"
        for name, (done, needed) in incomplete.items()
    )


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


def _addressed(text: str) -> tuple[str, str]:
    """To whom a setting is addressed ("" for all), and the setting."""
    before, sign, _ = text.partition("=")
    to, colon, _ = before.partition(":")
    if not sign:
        raise InputError(f'--set takes key=value or NAME:key=value, got "{text}"')
    return (to, text[len(to) + 1 :]) if colon else ("", text)


def _attempt(fit: Fit) -> tuple[str, str]:
    """What was fitted, and why it failed ("" if it did not)."""
    start = time.perf_counter()
    try:
        fit.run()
        error = ""
    except InputError as refusal:
        error = str(refusal)
    return f"{fit.name} {fit.part} {time.perf_counter() - start:.0f} s", error


def _side_by_side(fits: Sequence[Fit], jobs: int) -> Iterable[tuple[str, str]]:
    """Run fits in new processes of one thread each; yield as they end."""
    os.environ["OMP_NUM_THREADS"] = "1"  # LightGBM reads it when the new process loads it
    pool = ProcessPoolExecutor(
        jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    with pool:
        futures: list[Future[tuple[str, str]]] = [pool.submit(_attempt, fit) for fit in fits]
        for future in as_completed(futures):
            yield future.result()


def _start_worker() -> None:
    """One thread, and an end together with the parent, even if that is killed."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
