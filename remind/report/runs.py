"""Read a run folder without torch: its files are TOML, JSON and Parquet."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from remind.cohort import Groups
from remind.errors import InputError
from remind.evaluation import read_predictions
from remind.evaluation.predictions import positive_of
from remind.evaluation.table import check_same_patients
from remind.run_files import (
    DIAGNOSIS,
    ENCODING,
    EVALUATION,
    METRICS,
    PREDICTIONS,
    read_config,
)
from remind.sources.manifest import MANIFEST


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportedRun:
    """What is in a run folder.

    Args:
        path: of the folder, as given.
        label: what the page calls it: its method, with its folder where methods are alike.
        settings: flat, of config.toml.
        cohort: name, source, path and fingerprint.
        versions: of packages, at the time of the fit.
        evaluation: what `remind evaluate` wrote.
        spec: cohort.toml.
        groups: the training combinations.
        classes: of the label.
        epochs: a record per epoch; none for trees.
        diagnosis: what `remind diagnose` wrote; empty if it did not run, and a sentence for each
            part if it is of another split than the evaluation.
        manifest: of the cohort; None if it has none.
        predictions: of the evaluated patients; None if they were not kept.
    """

    path: Path
    label: str
    settings: dict[str, Any]
    cohort: dict[str, str]
    versions: dict[str, str]
    evaluation: dict[str, Any]
    spec: dict[str, Any]
    groups: Groups
    classes: tuple[str, ...]
    epochs: list[dict[str, Any]]
    diagnosis: dict[str, Any]
    manifest: dict[str, Any] | None
    predictions: pd.DataFrame | None

    @property
    def modalities(self) -> tuple[str, ...]:
        """In the order of cohort.toml."""
        return self.groups.modalities

    @property
    def positive(self) -> str | None:
        """What F1, AUPRC and calibration are of, such as "died = 1"; None beyond two classes."""
        name = positive_of(self.classes)
        return None if name is None else f"{self.spec['cohort']['label']} = {name}"

    @property
    def level(self) -> str:
        """Of the intervals, such as "95%"."""
        return f"{self.evaluation['bootstrap']['level']:.0%}"

    def part(self, name: str) -> dict[str, Any] | None:
        """A part of the diagnosis; None if it is not there."""
        found = self.diagnosis.get(name)
        return found if isinstance(found, dict) and found else None

    def why_not(self, name: str) -> str:
        """Why the diagnosis lacks a part, "" if it does not say."""
        absent = self.diagnosis.get("absent")
        return str(absent.get(name, "")) if isinstance(absent, dict) else ""


def read_runs(paths: Sequence[str | Path]) -> list[ReportedRun]:
    """Read runs, of which the first is reported and the others are what it is held against.

    Raises:
        InputError: one is no run or was not evaluated, two are the same folder, or they are not of
            the same patients.
    """
    if not paths:
        raise InputError("a report needs at least one run: name a run folder")
    folders = [Path(path) for path in paths]
    resolved = [folder.resolve() for folder in folders]
    for folder, here in zip(folders, resolved, strict=True):
        if resolved.count(here) > 1:
            raise InputError(f"{folder} is given twice: name each run once")
    runs = [read_run(folder) for folder in folders]
    for other in runs[1:]:
        _check_same(runs[0], other)
    labels = _labels(runs)
    return [replace(run, label=label) for run, label in zip(runs, labels, strict=True)]


def read_run(path: Path) -> ReportedRun:
    """Read a run folder.

    Raises:
        InputError: it is no run, it was not evaluated, or a file of it is damaged.
    """
    config = read_config(path)
    if not (path / EVALUATION).is_file():
        raise InputError(f"{path} was not evaluated: run remind evaluate {path} first")
    evaluation, encoding = _read_json(path / EVALUATION), _read_json(path / ENCODING)
    try:
        return ReportedRun(
            path=path,
            label=evaluation["method"],
            cohort=config.pop("cohort"),
            versions=config.pop("versions", {}),
            settings=config,
            evaluation=evaluation,
            spec=encoding["spec"],
            groups=Groups.from_dict(encoding["encoding"]["groups"]),
            classes=tuple(encoding["encoding"]["classes"]),
            epochs=_read_lines(path / METRICS),
            diagnosis=_diagnosis(path, evaluation["split"]),
            manifest=_manifest(Path(encoding["root"])),
            predictions=_predictions(path / PREDICTIONS, evaluation),
        )
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path} was written by another version of REMIND: {error!r} is not as expected; "
            "fit and evaluate again"
        ) from error


def _read_json(file: Path) -> Any:
    if not file.is_file():
        raise InputError(f"{file} is missing: bring it back, or fit again")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} is damaged: {error}; write it again") from error


def _read_lines(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.strip()]
    except ValueError as error:
        raise InputError(f"{file} is damaged: {error}; fit again") from error


def _diagnosis(path: Path, split: str) -> dict[str, Any]:
    """Of the split that was evaluated; of another one only a sentence for each part."""
    if not (path / DIAGNOSIS).is_file():
        return {}
    found = _read_json(path / DIAGNOSIS)
    other = found.get("split", split)
    if other == split:
        return found
    why = f'the diagnosis is of the split "{other}": run remind diagnose {path} --split {split}'
    return {"split": other, "absent": dict.fromkeys(found, why)}


def _manifest(root: Path) -> dict[str, Any] | None:
    """Of a prepared cohort that is still there."""
    file = root / MANIFEST
    return _read_json(file) if file.is_file() else None


def _predictions(file: Path, evaluation: dict[str, Any]) -> pd.DataFrame | None:
    """Those that the evaluation is of; None for others, such as those of another split."""
    if not file.is_file():
        return None
    frame = read_predictions(file)
    is_same = len(frame) == evaluation["n"] and set(frame["split"]) == {evaluation["split"]}
    return frame if is_same else None


def _check_same(first: ReportedRun, other: ReportedRun) -> None:
    """Raise InputError unless both were evaluated on the same patients."""
    a, b = f"{first.path}", f"{other.path}"
    if first.cohort["fingerprint"] != other.cohort["fingerprint"]:
        raise InputError(
            f"{a} and {b} were fitted on different patients or values (cohorts "
            f'"{first.cohort["name"]}" and "{other.cohort["name"]}"): report each on its own'
        )
    splits = first.evaluation["split"], other.evaluation["split"]
    if splits[0] != splits[1]:
        raise InputError(
            f'{a} was evaluated on the split "{splits[0]}" and {b} on "{splits[1]}": '
            "evaluate both on one split"
        )
    limits = first.evaluation["bands"], other.evaluation["bands"]
    if limits[0] != limits[1]:
        raise InputError(
            f"{a} has the bands head > {limits[0]['head']}, medium from {limits[0]['medium']}, and "
            f"{b} head > {limits[1]['head']}, medium from {limits[1]['medium']}: "
            "fit both with the same bands_head and bands_medium"
        )
    check_same_patients({a: first.evaluation, b: other.evaluation})


def _labels(runs: Sequence[ReportedRun]) -> list[str]:
    """Methods where they differ, else with the folders' names, else with their paths."""
    for candidates in (
        [run.label for run in runs],
        [f"{run.label} ({run.path.resolve().name})" for run in runs],
    ):
        if len(set(candidates)) == len(runs):
            return candidates
    return [f"{run.label} ({run.path})" for run in runs]
