"""The files of a run folder by name, and its config.toml; for those who read them without torch."""

import tomllib
from pathlib import Path
from typing import Any

from remind.errors import InputError

CONFIG = "config.toml"
ENCODING = "encoding.json"
CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
MODEL = "model"
"""Stem of the file whose presence says that the fit is done: model.safetensors, model.txt, …"""
WEIGHTS = f"{MODEL}.safetensors"
PREDICTIONS = "predictions.parquet"
VALIDATION = "validation.parquet"
"""Predictions of the validation patients, which `remind serve` calibrates prediction sets by."""
EVALUATION = "evaluation.json"
DIAGNOSIS = "diagnosis.json"
REPORT = "report.html"

OF_A_RUN = (
    *(EVALUATION, DIAGNOSIS, PREDICTIONS, VALIDATION, REPORT, METRICS, ENCODING, f"{MODEL}.*"),
    CONFIG,
)
"""Patterns of all files, in the order to remove them: while there is a config.toml it is a run."""


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.toml: flat settings, and the tables "cohort" and "versions".

    Raises:
        InputError: there is none, or it is damaged.
    """
    file = folder / CONFIG
    if not file.is_file():
        what = f"it has no {CONFIG}" if folder.exists() else "it does not exist"
        raise InputError(f"{folder} is no run folder: {what}")
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is damaged: {error}") from error
