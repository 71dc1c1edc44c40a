"""The service predicts what `remind predict` predicts, and says when it is out of its depth."""

import base64
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fastapi.testclient import TestClient

from remind.commands.predict import predict_table
from remind.methods import METHODS
from remind.run_files import VALIDATION
from remind.serve import Service, make_app
from remind.training import Run, open_run
from tests.serve.make import fit_hospital, requests_of, write_hospital


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def run(folder: Path) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REMIND_CACHE", str(folder / "cache"))
        hospital = write_hospital(folder / "hospital", patients=160)
        yield fit_hospital(hospital, folder / "run")


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def client(run: Run, told: list[str]) -> TestClient:
    return TestClient(make_app(Service(run, told.append), most_bytes=2 << 20))


@pytest.fixture(scope="module")
def patients(folder: Path, run: Run) -> list[dict[str, Any]]:
    return requests_of(folder / "hospital" / "new")


def predict(client: TestClient, *patients: dict[str, Any]) -> list[dict[str, Any]]:
    reply = client.post("/predict", json={"patients": list(patients)})
    assert reply.status_code == 200, reply.text
    return reply.json()["predictions"]


def refusal(client: TestClient, *patients: Any, status: int = 422) -> str:
    reply = client.post("/predict", json={"patients": list(patients)})
    assert reply.status_code == status, reply.text
    assert set(reply.json()) == {"error"}
    return reply.json()["error"]


def of(name: str, value: Any) -> dict[str, Any]:
    return {"id": "a", "modalities": {name: value}}


def test_it_predicts_what_predict_predicts_from_the_files(
    client: TestClient, patients: list[dict[str, Any]], run: Run, folder: Path
) -> None:
    out = folder / "predictions.csv"
    predict_table(run, str(folder / "hospital" / "new" / "patients.parquet"), out)
    expected = pd.read_csv(out)
    seen = {name for patient in patients for name in patient["modalities"]}
    assert seen == set(run.spec.modalities)  # all eight kinds take part
    answers = predict(client, *patients)
    for answer, row in zip(answers, expected.to_dict("records"), strict=True):
        assert answer["id"] == row["stay_id"]
        assert answer["group"] == row["group"]
        assert answer["n_train"] == row["n_train"]
        assert answer["band"] == row["band"]
        assert answer["probabilities"]["1"] == pytest.approx(row["prob_1"], abs=1e-5)


def test_a_patient_is_predicted_alike_alone_and_beside_others(
    client: TestClient, patients: list[dict[str, Any]]
) -> None:
    together = predict(client, *patients[:3])
    for patient, expected in zip(patients[:3], together, strict=True):
        (alone,) = predict(client, patient)
        assert alone["probabilities"]["1"] == pytest.approx(
            expected["probabilities"]["1"], abs=1e-5
        )
        assert {**alone, "probabilities": 0} == {**expected, "probabilities": 0}


def test_nothing_of_a_patient_stays(
    client: TestClient,
    patients: list[dict[str, Any]],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # of this test, not of others beside it

    def files() -> set[str]:
        cache = {str(path) for path in (folder / "cache").rglob("*")}
        return cache | {name for name in os.listdir(tempfile.gettempdir()) if "remind-" in name}

    before = files()
    predict(client, *patients)
    refusal(client, {"id": 1, "modalities": {"vitals": {}}})
    assert files() == before


def test_a_combination_that_training_never_saw_is_out_of_its_depth(
    client: TestClient, run: Run
) -> None:
    (answer,) = predict(client, of("vitals", {"heart_rate": 80}))
    assert answer["band"] == "unseen"
    assert answer["n_train"] == 0
    assert answer["verdict"] == "out_of_depth"
    assert answer["reasons"][0].startswith(
        "no training patient was observed in exactly these modalities; the nearest combination ("
    )
    assert "admission" in answer["reasons"][0]  # everybody in training has it


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"vitals": {"heart_rate": 900}}, "heart_rate is beyond the range of training"),
        ({"admission": {"unit": "garage"}}, "unit has a category, variable or code that training"),
        (
            {"labs": [{"time": 1, "variable": "lactate", "value": 1e4}]},
            "labs.lactate is beyond the range of training",
        ),
        ({"diagnoses": ["QQQ"]}, "diagnoses has a category, variable or code that training"),
    ],
)
def test_a_value_outside_of_training_is_out_of_its_depth(
    client: TestClient,
    patients: list[dict[str, Any]],
    run: Run,
    change: dict[str, Any],
    reason: str,
) -> None:
    (name,) = change
    known = next(p for p in patients if name in p["modalities"])
    (before,) = predict(client, known)
    assert not any(said.startswith(reason) for said in before["reasons"])
    (answer,) = predict(client, {"id": 0, "modalities": {**known["modalities"], **change}})
    assert answer["verdict"] == "out_of_depth"
    assert any(said.startswith(reason) for said in answer["reasons"])


def test_every_verdict_follows_from_what_is_said_beside_it(
    client: TestClient, patients: list[dict[str, Any]]
) -> None:
    answers = predict(client, *patients)
    assert len({answer["verdict"] for answer in answers}) > 1
    for answer in answers:
        is_out = answer["band"] == "unseen" or any(
            "of training" in said or "that training does not know" in said
            for said in answer["reasons"]
        )
        assert (answer["verdict"] == "out_of_depth") == is_out
        if answer["verdict"] == "sure":
            assert answer["reasons"] == []
            assert len(answer["prediction_set"]) == 1
        else:
            assert answer["reasons"]
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("patient", "sentence"),
    [
        (of("vital", {"heart_rate": 1}), 'modalities.vital is unknown; did you mean "vitals"?'),
        (of("vitals", {"hart_rate": 1}), 'vitals.hart_rate is unknown; did you mean "heart_rate"'),
        (of("vitals", {"heart_rate": "80"}), "heart_rate"),
        (of("vitals", {}), "one patient has no modality at all (id a)"),
        (of("labs", [{"variable": "lactate", "value": 2}]), "labs.0.time is missing: add it"),
        (of("labs", [{"time": 1, "variable": "lactate", "value": "high"}]), 'holds "high"'),
        (of("echo", [1.0, 2.0]), "modalities.echo"),
        (of("drugs", ["N02BE01"]), "modalities.drugs.0"),
        (of("chest_xray", [{"name": "../a.png", "content": ""}]), "a file's name without a folder"),
        (of("chest_xray", [{"name": "a.png", "content": "AAAA"}]), "a.png"),
        (of("chest_xray", [{"name": "a.png", "content": "%"}]), "content"),
        ({"id": "a"}, "patients.0.modalities is missing: add it"),
        ({"modalities": {"vitals": {"heart_rate": 1}}}, "patients.0.id is missing: add it"),
        ({"id": "", "modalities": {"vitals": {"heart_rate": 1}}}, "patients.0.id"),
    ],
)
def test_wrong_input_gets_one_sentence(
    client: TestClient, patient: dict[str, Any], sentence: str
) -> None:
    error = refusal(client, patient)
    assert sentence in error
    assert error.startswith("the request")
    assert "\n" not in error
    assert tempfile.gettempdir() not in error


def test_two_patients_of_one_id_are_refused(client: TestClient) -> None:
    same = of("vitals", {"heart_rate": 80})
    assert 'the id "a"' in refusal(client, same, same)


def test_what_is_no_request_is_refused(client: TestClient) -> None:
    assert "patients" in refusal(client)  # of nobody
    for body in (b"{", b"[]", b'{"patients": 1}', b""):
        reply = client.post("/predict", content=body, headers={"content-type": "application/json"})
        assert reply.status_code == 422
        assert set(reply.json()) == {"error"}


def test_a_request_that_is_too_long_is_refused_unread(client: TestClient) -> None:
    long = of(
        "chest_xray", [{"name": "a.png", "content": base64.b64encode(bytes(2 << 20)).decode()}]
    )
    assert "the request is longer than" in refusal(client, long, status=413)
    assert client.get("/health").json() == {"status": "ok"}


def test_a_broken_file_of_a_lenient_modality_is_passed_over_and_told(folder: Path) -> None:
    lenient = folder / "lenient"
    shutil.copytree(folder / "hospital", lenient)
    toml = lenient / "cohort.toml"
    toml.write_text(
        toml.read_text().replace('kind  = "image"', 'on_invalid = "missing"\nkind  = "image"')
    )
    service = Service(fit_hospital(lenient, folder / "lenient_run"), lambda _: None)
    with TestClient(make_app(service)) as client:
        broken = of("chest_xray", [{"name": "a.png", "content": "AAAA"}])
        broken["modalities"]["vitals"] = {"heart_rate": 80}
        reply = client.post("/predict", json={"patients": [broken]}).json()
    assert reply["predictions"][0]["group"] == "vitals"
    (note,) = reply["notes"]
    assert note.startswith("chest_xray: 1 invalid value counts as missing")
    assert tempfile.gettempdir() not in note


def test_it_serves_without_the_cohort_once_it_was_calibrated(
    run: Run, client: TestClient, folder: Path, patients: list[dict[str, Any]]
) -> None:
    assert (folder / "run" / VALIDATION).is_file()
    alone = folder / "elsewhere"
    shutil.copytree(folder / "run", alone)
    hidden = folder / "hidden"
    (folder / "hospital").rename(hidden)
    try:
        told: list[str] = []
        service = Service(open_run(alone, METHODS), told.append)
        with TestClient(make_app(service)) as other:
            assert predict(other, *patients[:4]) == predict(client, *patients[:4])
        assert told == []
        (alone / VALIDATION).unlink()
        (alone / "evaluation.json").unlink()
        service = Service(open_run(alone, METHODS), told.append)
        with TestClient(make_app(service)) as other:
            (answer,) = predict(other, patients[0])
        assert answer["prediction_set"] is None
        assert answer["measured"] is None
        assert len(told) == 2
        assert "remind evaluate" in told[0]
        assert "without prediction sets" in told[1]
    finally:
        hidden.rename(folder / "hospital")


def test_the_model_says_what_it_reads(client: TestClient, run: Run, told: list[str]) -> None:
    card = client.get("/model").json()
    assert [item["name"] for item in card["modalities"]] == list(run.spec.modalities)
    assert card["num_trained"] == int(run.encoding.groups.counts_G.sum())
    assert card["modalities"][0]["observed"] == 1.0
    assert card["measured"][0]["band"] == "overall"
    assert told == []


def test_its_description_has_every_modality(client: TestClient, run: Run) -> None:
    described = client.get("/openapi.json").json()
    properties = described["components"]["schemas"]["Modalities"]["properties"]
    assert list(properties) == list(run.spec.modalities)
    assert set(described["paths"]) == {"/health", "/model", "/predict"}
    assert set(described["paths"]["/predict"]["post"]["responses"]) == {"200", "413", "422"}
