"""A small hospital with all eight kinds, a run of it, and its later stays as requests."""

import base64
from pathlib import Path
from typing import Any

import pandas as pd

from remind.commands.runs import evaluate_run
from remind.methods import METHODS
from remind.sources import toy_hospital
from remind.training import Run, fit_run, open_run, with_overrides

QUICK = ["epochs=1", "pretrain=0", "width=16", "hidden=16", "members=2", "teacher=0"]


def write_hospital(folder: Path, patients: int) -> Path:
    """The toy hospital."""
    toy_hospital.write(folder, patients=patients, seed=0)
    return folder


def fit_hospital(cohort: Path, out: Path) -> Run:
    """A run that was evaluated, opened from its folder."""
    method = METHODS["default"]
    fit_run(cohort, method, with_overrides(method.default_settings(), QUICK), out)
    run = open_run(out, METHODS)
    evaluate_run(run, "test")
    return run


def requests_of(folder: Path) -> list[dict[str, Any]]:
    """The stays of a folder of tables, as patients of a request."""
    table = pd.read_parquet(folder / "patients.parquet")
    labs, diagnoses, xrays = (
        pd.read_csv(folder / f"{name}.csv", dtype={"value": str})
        for name in ("labs", "diagnoses", "chest_xrays")
    )
    drugs, notes = (pd.read_parquet(folder / f"{name}.parquet") for name in ("drugs", "notes"))
    patients: list[dict[str, Any]] = []
    for row in table.to_dict("records"):
        stay = row["stay_id"]
        modalities = {
            "admission": _present(row, ["age_years", "sex", "admission_type", "unit"]),
            "vitals": _present(
                row, ["heart_rate", "mean_pressure", "respiratory_rate", "spo2", "temperature"]
            ),
            "labs": [
                {"time": time, "variable": test, "value": _number_or_word(value)}
                for time, test, value in _rows(labs, stay, ["hours", "test", "value"])
            ],
            "diagnoses": [code for (code,) in _rows(diagnoses, stay, ["code"])],
            "drugs": [
                {"code": code, "time": time} for code, time in _rows(drugs, stay, ["code", "hours"])
            ],
            "notes": [
                {"text": text, "time": time} for text, time in _rows(notes, stay, ["text", "hours"])
            ],
            "chest_xray": [sent(folder / path) for (path,) in _rows(xrays, stay, ["path"])],
            "head_ct": [sent(folder / row["head_ct"])] if isinstance(row["head_ct"], str) else [],
            "ecg": [_record(folder / row["ecg"])] if isinstance(row["ecg"], str) else [],
            "echo": [] if row["echo_embedding"] is None else row["echo_embedding"].tolist(),
        }
        observed = {name: value for name, value in modalities.items() if value}
        patients.append({"id": stay, "modalities": observed})
    return patients


def sent(file: Path) -> dict[str, Any]:
    """A file as a request has it."""
    return {"name": file.name, "content": base64.b64encode(file.read_bytes()).decode()}


def _record(stem: Path) -> dict[str, Any]:
    return sent(stem.with_suffix(".hea")) | {"beside": [sent(stem.with_suffix(".dat"))]}


def _present(row: dict[str, Any], columns: list[str]) -> dict[str, Any]:
    return {column: row[column] for column in columns if not pd.isna(row[column])}


def _rows(table: pd.DataFrame, stay: str, columns: list[str]) -> list[list[Any]]:
    return table.loc[table["stay_id"] == stay, columns].dropna().values.tolist()


def _number_or_word(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value
