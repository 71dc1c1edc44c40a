"""The folder of a benchmark: every trial and every fit is a file, whole or not there.

    benchmark.toml                                     what it is
    trials/<contender>/<place>/<number>.json           a trial
    fits/<contender>/seed<s>-fold<f>-<hash>.parquet    predictions of a fit
    fits/<contender>/seed<s>-fold<f>-<hash>.json       what it cost, a note, versions of packages
    predictions.parquet, results.md, .csv, .tex, .json, cost.csv, cd.svg    the report

The hash is that of the settings after tuning.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import tomli_w

from remind.benchmark.config import BenchmarkConfig, config_from_dict
from remind.benchmark.tuning import Trial
from remind.errors import InputError
from remind.evaluation import read_predictions, write_predictions
from remind.training.files import TEMPORARY, read_json, write_json, write_text
from remind.training.run import versions

FILE = "benchmark.toml"
COST = ".json"
VERSIONS = "versions"
NOTE = "note"


class BenchmarkFolder:
    """Files of a benchmark.

    Args:
        path: it need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def is_benchmark(self) -> bool:
        """Whether a benchmark was begun here."""
        return (self.path / FILE).is_file()

    def begin(self, config: BenchmarkConfig) -> BenchmarkConfig:
        """Write benchmark.toml, or extend the one that is there; return what it says now.

        Raises:
            InputError: the folder holds another benchmark, or something else.
        """
        if self.is_benchmark:
            config = self.config().extended(config, str(self.path))
        elif self.path.is_file():
            raise InputError(f"{self.path} is a file: name a folder with --out")
        elif self.path.exists() and not self._is_empty():
            raise InputError(
                f"{self.path} is not empty and holds no benchmark: name another folder with --out"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        content = tomli_w.dumps({**config.to_dict(), VERSIONS: versions()})
        write_text(self.path / FILE, content)
        return config

    def config(self) -> BenchmarkConfig:
        """Read benchmark.toml.

        Raises:
            InputError: there is none, or it is damaged.
        """
        if not self.is_benchmark:
            what = f"it has no {FILE}" if self.path.exists() else "it does not exist"
            raise InputError(f"{self.path} is no folder of a benchmark: {what}")
        try:
            data = tomllib.loads((self.path / FILE).read_text(encoding="utf-8"))
            data.pop(VERSIONS, None)
            return config_from_dict(data)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise InputError(f"{self.path / FILE} is damaged: {error}") from error

    def trials(self, name: str, place: str) -> list[Trial]:
        """The trials of a search that are there, in order, up to the first that is not."""
        trials: list[Trial] = []
        while (file := self._trial(name, place, len(trials))).is_file():
            trials.append(Trial(**read_json(file)))
        return trials

    def write_trial(self, name: str, place: str, number: int, trial: Trial) -> None:
        """Keep a trial."""
        file = self._trial(name, place, number)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, asdict(trial))

    def fit(self, name: str, part: str, settings: Mapping[str, Any]) -> Path:
        """The predictions of a fit."""
        return self.path / "fits" / name / f"{part}-{_digest(settings)}.parquet"

    def write_fit(self, file: Path, frame: pd.DataFrame, cost: dict[str, Any]) -> None:
        """Keep a fit; it is there once its predictions are."""
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file.with_suffix(COST), {**cost, VERSIONS: versions()})
        write_predictions(frame, file)

    def read_fit(self, file: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Predictions, and cost with the versions of packages and, of newer fits, a note."""
        return read_predictions(file), read_json(file.with_suffix(COST))

    def _is_empty(self) -> bool:
        return self.path.is_dir() and all(
            file.name.startswith(TEMPORARY) for file in self.path.iterdir()
        )

    def _trial(self, name: str, place: str, number: int) -> Path:
        return self.path / "trials" / name / place / f"{number:04d}.json"


def _digest(settings: Mapping[str, Any]) -> str:
    content = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]
