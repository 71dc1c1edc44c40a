"""Requests of what the toy hospital has not: notes and codes in columns, versions, files' times."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from remind.commands.predict import predict_table
from remind.methods import METHODS
from remind.serve import Service, make_app
from remind.training import fit_run, open_run, with_overrides
from tests.serve.make import sent

TOML = """\
[cohort]
name = "columns"
table = "patients.parquet"
id = "pid"
label = "died"
task = "multiclass"

[modalities.scores]
kind = "tabular"
columns = ["score", "is_on", "grade"]

[modalities.note]
kind = "text"
column = "note"

[modalities.drugs]
kind = "codes"
column = "drugs"

[modalities.history]
kind = "codes"
table = "history.csv"
id = "patient"
code = "icd_code"
version = "icd_version"
time = "charttime"
system = "icd"

[modalities.scans]
kind = "image"
table = "scans.csv"
time = "hours"
until = 24.0
size = [8, 8]
"""
NUM = 120


def write_columns(folder: Path, num: int, seed: int, *, is_labelled: bool) -> Path:
    """Patients with half of everything."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    (folder / "cohort.toml").write_text(TOML)
    words = np.array(["pain", "fever", "cough", "none", "stable"])
    notes = [" ".join(rng.choice(words, 4)) if rng.random() < 0.6 else None for _ in range(num)]
    drugs = [rng.choice(list("ABCDE"), 2).tolist() if rng.random() < 0.6 else None for _ in notes]
    frame = pd.DataFrame({"pid": [f"P{n}" for n in range(num)], "note": notes, "drugs": drugs})
    frame["score"] = rng.normal(size=num)
    frame["is_on"] = rng.random(num) < 0.5
    frame["grade"] = rng.choice(["low", "high", "2"], num)
    if is_labelled:
        frame["died"] = np.resize(["home", "ward", "died"], num)
    frame.to_parquet(folder / "patients.parquet", index=False)
    rows = [
        (f"P{n}", code, version, hours)
        for n in range(num)
        for code, version, hours in (("4019", 9, 1.5), ("I10", 10, 30.0), ("25000", 9, -2.0))
        if rng.random() < 0.4
    ]
    columns = ["patient", "icd_code", "icd_version", "charttime"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "history.csv", index=False)
    scans = []
    for n in range(0, num, 2):
        for hours in (2.0, 30.0):
            pixels = rng.integers(0, 255, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{n}_{hours:g}.png")
            scans.append((f"P{n}", f"{n}_{hours:g}.png", hours))
    pd.DataFrame(scans, columns=["pid", "path", "hours"]).to_csv(folder / "scans.csv", index=False)
    return folder


@pytest.mark.parametrize("method", ["lightgbm", "transformer"])
def test_it_predicts_what_predict_predicts(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REMIND_CACHE", str(tmp_path / "cache"))
    cohort = write_columns(tmp_path / "cohort", NUM, 0, is_labelled=True)
    new = write_columns(tmp_path / "new", 12, 1, is_labelled=False)
    small = {"lightgbm": ["trees=3"], "transformer": ["epochs=1", "width=8"]}[method]
    chosen = METHODS[method]
    fit_run(cohort, chosen, with_overrides(chosen.default_settings(), small), tmp_path / "run")
    run = open_run(tmp_path / "run", METHODS)
    predict_table(run, str(new / "patients.parquet"), tmp_path / "p.parquet")
    expected = pd.read_parquet(tmp_path / "p.parquet")

    table = pd.read_parquet(new / "patients.parquet")
    history, scans = pd.read_csv(new / "history.csv", dtype=str), pd.read_csv(new / "scans.csv")
    patients = []
    for row in table.to_dict("records"):
        own = history[history["patient"] == row["pid"]]
        files = scans[scans["pid"] == row["pid"]]
        modalities = {
            "scores": {"score": row["score"], "is_on": row["is_on"], "grade": row["grade"]},
            "note": row["note"] if isinstance(row["note"], str) else None,
            "drugs": None if row["drugs"] is None else row["drugs"].tolist(),
            "history": [
                {"code": code, "version": int(version), "time": float(time)}
                for _, code, version, time in own.itertuples(index=False)
            ],
            "scans": [
                sent(new / path) | {"time": hours}
                for _, path, hours in files.itertuples(index=False)
            ],
        }
        if modalities["scores"]["grade"] == "2":
            modalities["scores"]["grade"] = 2  # a number is the category that its text is
        patients.append({"id": row["pid"], "modalities": modalities})
    client = TestClient(make_app(Service(run, lambda _: None)))
    reply = client.post("/predict", json={"patients": patients})
    assert reply.status_code == 200, reply.text
    answers = reply.json()["predictions"]
    assert [answer["group"] for answer in answers] == expected["group"].tolist()
    assert len(set(expected["group"])) > 3
    for name in ("home", "ward", "died"):
        np.testing.assert_allclose(
            [answer["probabilities"][name] for answer in answers],
            expected[f"prob_{name}"],
            atol=1e-5,
        )
