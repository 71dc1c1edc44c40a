"""The command line end to end, as a user runs it."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pandas as pd
import pytest

from remind.cli import fit
from remind.methods import METHODS
from tests.cohort.make import small_frame, write_cohort
from tests.commands import remind

QUICK = ["--set", "epochs=2", "--set", "width=16", "--set", "members=2", "--set", "hidden=16"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"), n=300)


@pytest.fixture(scope="module")
def run(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "default"
    command = [sys.executable, "-m", "remind.cli", "fit", cohort, "--out", out, *QUICK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def test_describe_prints_one_json_object(
    cohort: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert remind(monkeypatch, "describe", cohort, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["num_patients"] == 300
    assert [m["name"] for m in facts["modalities"]] == ["vitals", "labs", "ecg"]
    assert remind(monkeypatch, "describe", cohort) == 0
    shown = capsys.readouterr().out
    assert "300 patients" in shown
    assert all(column in shown for column in ("lactate", "crp", "ventilated"))


def test_evaluate_prints_the_contract_and_keeps_it_in_the_run(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert remind(monkeypatch, "evaluate", run, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["split"] == "test"
    assert result["bands"] == {"head": 100, "medium": 20}
    for block in ("overall", "head", "medium", "tail", "unseen"):
        assert {"n", "auroc", "auprc", "accuracy", "f1", "f1_macro", "log_loss"} < set(
            result[block]
        )
    assert sum(group["n"] for group in result["groups"]) == result["n"] == result["overall"]["n"]
    assert json.loads((run / "evaluation.json").read_text()) == result


def test_predict_takes_any_subset_of_modalities(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = small_frame(n=40, seed=5)[["pid", "hr", "ward"]].dropna()
    frame.to_csv(tmp_path / "new.csv", index=False)
    assert (
        remind(monkeypatch, "predict", run, tmp_path / "new.csv", "--out", tmp_path / "p.csv") == 0
    )
    predictions = pd.read_csv(tmp_path / "p.csv", dtype={"pid": str})
    assert list(predictions) == ["pid", "prob_0", "prob_1", "group", "n_train", "band"]
    assert list(predictions["pid"]) == list(frame["pid"])
    assert set(predictions["group"]) == {"vitals"}
    np.testing.assert_allclose(predictions["prob_0"] + predictions["prob_1"], 1, atol=1e-6)


def test_a_run_is_diagnosed_and_reported(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Some parts are asked for; the page shows these, and says how to get the others."""
    assert remind(monkeypatch, "evaluate", run, "--json") == 0
    capsys.readouterr()
    assert remind(monkeypatch, "diagnose", run, "--parts", "long_tail, calibration", "--json") == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert "diagnosing: long tail" in captured.err
    assert result["long_tail"]["num_groups"] > 1
    assert result["gradients"] is None
    assert json.loads((run / "diagnosis.json").read_text()) == result
    assert remind(monkeypatch, "report", run) == 0
    assert str(run / "report.html") in capsys.readouterr().out.replace("\n", "")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert f"{json.loads((run / 'evaluation.json').read_text())['overall']['auroc']:.3f}" in page
    assert "remind diagnose" in page
    assert remind(monkeypatch, "diagnose", run, "--parts", "long_tale") == 2
    assert 'did you mean "long_tail"?' in capsys.readouterr().err


def test_parts_that_are_not_asked_for_again_are_kept(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def diagnosed(*arguments: str) -> dict[str, Any]:
        assert remind(monkeypatch, "diagnose", run, *arguments, "--json") == 0
        result = json.loads(capsys.readouterr().out)
        assert json.loads((run / "diagnosis.json").read_text()) == result
        return result

    (run / "diagnosis.json").write_text('{"cut off')
    first = diagnosed("--parts", "long_tail,conformal", "--split", "val")
    assert set(first["absent"]) == {"conformal"}
    both = diagnosed("--parts", "calibration", "--split", "val")
    assert both["calibration"]["split"] == "val"
    assert set(both["seconds"]) == {"long_tail", "conformal", "calibration"}
    for key in ("long_tail", "absent"):
        assert both[key] == first[key]
    other = diagnosed("--parts", "calibration")
    assert other["long_tail"] is None
    assert (other["absent"], set(other["seconds"])) == ({}, {"calibration"})


@pytest.mark.parametrize("method", ["lightgbm", "tabm", "transformer", "paper"])
def test_a_run_of_every_method_predicts_when_reopened_as_it_did(
    method: str, cohort: Path, tmp_path: Path
) -> None:
    from remind.methods import METHODS
    from remind.training import fit_run, open_run, with_overrides

    keys = {"lightgbm": ["trees=5"], "tabm": ["epochs=2", "members=2", "width=8"]}
    neural = ["epochs=2", "width=16", "heads=2", "hidden=8", "experts=4"]
    settings = with_overrides(METHODS[method].default_settings(), keys.get(method, neural))
    fitted = fit_run(cohort, METHODS[method], settings, tmp_path / "run")
    reopened = open_run(tmp_path / "run", METHODS)
    test = fitted.cohort()
    pd.testing.assert_frame_equal(
        reopened.predictions("test", test), fitted.predictions("test", test)
    )


WRONG: list[tuple[Sequence[str], str]] = [
    (["describe", "suport2"], 'did you mean "support2"?'),
    (["fit", "support2"], "Missing option '--out'"),
    (["fit", "support2", "--out", "{new}", "--method", "deflt"], 'did you mean "default"?'),
    (["fit", "support2", "--out", "{new}", "--set", "epoch=3"], 'did you mean "epochs"'),
    (["fit", "support2", "--out", "{new}", "--set", "lr=fast"], "lr"),
    (["fit", "support2", "--out", "{run}"], "holds a finished run"),
    (["evaluate", "{new}"], "is no run folder: it does not exist"),
    (["evaluate", "{run}", "--split", "tset"], "split must be one of train, val, test"),
    (["predict", "{run}", "absent.csv", "--out", "{new}.csv"], "absent.csv"),
    (["predict", "{run}", "{table}", "--out", "{new}.xlsx"], ".csv, .csv.gz or .parquet"),
    (["predict", "{run}", "{table}", "--out", "{new}.csv"], '"lactte"'),
    (["report", "{new}"], "is no run folder"),
    (["reproduce", "mimic", "--out", "{new}"], 'no experiment "mimic"'),
    (["reproduce", "embed", "--out", "{new}"], "needs --root"),
    (["prepare", "embed", "--root", "{new}", "--out", "{new}2"], "is no folder: give --root"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_wrong_input_gets_one_sentence_and_writes_nothing(
    arguments: Sequence[str],
    said: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = tmp_path / "table.csv"
    small_frame(n=10)[["pid", "lactate", "crp", "ventilated"]].rename(
        columns={"lactate": "lactte"}
    ).to_csv(table, index=False)
    places = {"new": tmp_path / "new", "run": run, "table": table}
    assert remind(monkeypatch, *(a.format(**places) for a in arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_the_command_line_names_every_method() -> None:
    """By hand, since importing them would import torch before any command begins."""
    option = get_type_hints(fit, include_extras=True)["method"].__metadata__[0]
    assert sorted(option.help.split(", ")) == sorted(METHODS)
