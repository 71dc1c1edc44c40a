"""The command line end to end, as a user runs it."""

import json
import shutil
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
from remind.training import fit_run, open_run, with_overrides
from tests.cohort.make import TOML, small_frame, write_cohort, write_frame
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


@pytest.fixture(scope="module")
def trees(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "trees"
    method = METHODS["lightgbm"]
    fit_run(cohort, method, with_overrides(method.default_settings(), ["trees=20"]), out)
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
    columns = ["pid", "prob_0", "prob_1", "group", "n_train", "band", "outside"]
    assert list(predictions) == columns
    assert list(predictions["pid"]) == list(frame["pid"])
    assert set(predictions["group"]) == {"vitals"}
    np.testing.assert_allclose(predictions["prob_0"] + predictions["prob_1"], 1, atol=1e-6)


def test_predict_says_what_training_never_saw(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A modality under other names, unknown categories and impossible numbers; else nothing."""
    frame = small_frame(n=300)
    frame = frame[(frame["split"] == "train") & frame["hr"].notna()].head(20)
    table, out = tmp_path / "new.parquet", tmp_path / "p.csv"
    frame.to_parquet(table, index=False)
    assert remind(monkeypatch, "predict", run, table, "--out", out) == 0
    assert capsys.readouterr().err == ""
    assert pd.read_csv(out)["outside"].sum() == 0

    frame["ward"] = "burns"
    frame["hr"] = frame["hr"].where(np.arange(20) > 2, 1e6)
    renamed = {"lactate": "lac", "crp": "c_reactive", "ventilated": "vent"}
    frame.rename(columns=renamed).to_parquet(table, index=False)
    assert remind(monkeypatch, "predict", run, table, "--out", out) == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "nobody has labs, which training had",
        'columns that no modality reads: "lac", "c_reactive", "vent"',
        "patients of 20 with a category, variable or code that training does not know: ward 20",
        "patients of 20 with a value beyond the range of training: hr 3",
    ]
    assert captured.out.startswith("20 patients predicted")
    assert pd.read_csv(out)["outside"].tolist() == [2, 2, 2, *[1] * 17]


def test_predict_says_what_nobody_has_and_what_was_invalid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So does fit of what was invalid; the rest of a modality is read."""
    frame = small_frame(n=300)
    frame["hr"] = frame["hr"].astype(object)
    frame.loc[3, "hr"] = "high"
    toml = TOML.replace(
        'columns = ["hr", "ward"]', 'columns = ["hr", "ward"]\non_invalid="missing"'
    )
    folder = write_frame(tmp_path / "cohort", frame, toml=toml, suffix="csv")
    run, new = tmp_path / "run", tmp_path / "new.csv"
    trees = ["--method", "lightgbm", "--set", "trees=3"]
    assert remind(monkeypatch, "fit", folder, "--out", run, *trees) == 0
    told = f'vitals: 1 invalid value counts as missing ({folder}/patients.csv, row 4: column "hr"'
    assert capsys.readouterr().err.startswith(told)
    some = frame[frame["ward"].notna()][["pid", "hr", "ward"]].head(5)
    some.assign(hr=["low", "low", None, None, None]).to_csv(new, index=False)
    assert remind(monkeypatch, "predict", run, new, "--out", tmp_path / "p.csv") == 0
    first, lost, empty = capsys.readouterr().err.splitlines()
    assert first.startswith(f'vitals: 2 invalid values count as missing ({new}, row 1: column "hr"')
    assert lost == "nobody has labs, ecg, which training had"
    assert empty == 'nobody has a value of "hr", which training had'


def test_predict_writes_over_nothing_that_it_reads(
    run: Path,
    cohort: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither a shard of the table, nor the cohort's table, nor a file of the run."""
    frame = small_frame(n=40, seed=5)[["pid", "hr", "ward"]].dropna()
    for name, some in (("a.csv", frame[:9]), ("b.csv", frame[9:])):
        some.to_csv(tmp_path / name, index=False)
    (tmp_path / "link.csv").symlink_to("a.csv")
    evaluated = run / "predictions.parquet"
    evaluated.touch()
    for out in (tmp_path / "b.csv", tmp_path / "link.csv", cohort / "patients.parquet", evaluated):
        before = out.read_bytes()
        table = str(tmp_path / "[ab].csv")
        assert remind(monkeypatch, "predict", run, table, "--out", out) == 2
        assert "write the predictions elsewhere" in capsys.readouterr().err
        assert out.read_bytes() == before
        assert out.is_symlink() == (out.name == "link.csv")


def test_an_id_named_like_a_prediction_keeps_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = small_frame(n=300).rename(columns={"pid": "group"})
    folder = write_frame(tmp_path / "cohort", frame, toml=TOML.replace('"pid"', '"group"'))
    trees = ["--method", "lightgbm", "--set", "trees=3"]
    assert remind(monkeypatch, "fit", folder, "--out", tmp_path / "run", *trees) == 0
    frame[["group", "hr", "ward"]].dropna().to_csv(tmp_path / "new.csv", index=False)
    out = tmp_path / "p.csv"
    assert remind(monkeypatch, "predict", tmp_path / "run", tmp_path / "new.csv", "--out", out) == 0
    predictions = pd.read_csv(out, dtype=str)
    assert list(predictions)[::3] == ["group", "group_", "outside"]
    assert predictions["group"].tolist() == frame.dropna(subset=["hr", "ward"])["group"].tolist()
    assert set(predictions["group_"]) == {"vitals"}
    assert 'the column "group" is the id' in capsys.readouterr().err


def test_brackets_in_names_are_shown_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = TOML.replace("[modalities.labs]", '[modalities."labs [mg/dl]"]')
    folder = write_frame(tmp_path / "cohort[/b]", small_frame(n=300), toml=toml)
    run, out = tmp_path / "run[/red]", tmp_path / "p[lr].csv"
    trees = ["--method", "lightgbm", "--set", "trees=3"]
    assert remind(monkeypatch, "describe", folder) == 0
    shown = capsys.readouterr().out
    assert shown.count("labs [mg/dl]") >= 2  # modalities, combinations
    assert remind(monkeypatch, "fit", folder, "--out", run, *trees) == 0
    assert f"the run is in {run};" in capsys.readouterr().out
    frame = small_frame(n=40, seed=5)[["pid", "hr", "ward"]].dropna()
    frame.to_csv(tmp_path / "new.csv", index=False)
    assert remind(monkeypatch, "predict", run, tmp_path / "new.csv", "--out", out) == 0
    captured = capsys.readouterr()
    assert captured.out.endswith(f"never saw: {out}\n")
    assert "nobody has labs [mg/dl], ecg" in captured.err


def test_evaluate_shows_every_interval_that_it_has(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert remind(monkeypatch, "evaluate", run, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert remind(monkeypatch, "evaluate", run) == 0
    lines = capsys.readouterr().out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.split()[:1] == ["overall"])
    metrics = ("auroc", "log_loss", "f1", "accuracy", "ece")
    figures = [f"{result['overall'][m]:.3f}".removeprefix("0") for m in metrics]
    assert lines[at].split()[2:] == figures
    bounds = [[f"{b:.3f}".removeprefix("0") for b in result["overall"]["ci"][m]] for m in metrics]
    assert lines[at + 1].split() == ["–".join(pair) for pair in bounds]


def test_a_demo_replaces_a_demo_alone_and_only_by_another(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def content() -> dict[str, bytes]:
        paths = tmp_path.rglob("*")
        return {str(path): path.read_bytes() for path in paths if path.is_file()}

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    shutil.copytree(run, tmp_path / "default")
    before = content()
    cannot = ["--set", "device=cuda", "--set", "teacher=0"]
    assert remind(monkeypatch, "demo", "--out", tmp_path, *cannot) == 2
    assert "holds a run of another cohort" in capsys.readouterr().err
    assert content() == before

    config = tmp_path / "default" / "config.toml"
    lines = config.read_text().splitlines()
    lines = ['source = "support2"' if line.startswith("source") else line for line in lines]
    config.write_text("\n".join(lines))
    before = content()
    assert remind(monkeypatch, "demo", "--out", tmp_path, *cannot) == 2
    assert "torch sees no CUDA device" in capsys.readouterr().err
    assert content() == before


@pytest.mark.parametrize("file", ["model.txt", "model.safetensors", "encoding.json"])
@pytest.mark.parametrize("share", [0.9, 0.1, None])
def test_a_damaged_run_is_one_sentence(
    file: str,
    share: float | None,
    run: Path,
    trees: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Cut short, or not there; a run without a model is an unfinished one."""
    shutil.copytree(trees if file == "model.txt" else run, tmp_path / "run")
    path = tmp_path / "run" / file
    whole = path.read_bytes()
    path.unlink()
    if share is not None:
        path.write_bytes(whole[: int(share * len(whole))])
    assert remind(monkeypatch, "evaluate", tmp_path / "run") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    is_unfinished = share is None and file != "encoding.json"
    said = "holds an unfinished run" if is_unfinished else f"{file} is damaged: "
    assert said in captured.err


def test_the_positive_class_is_named_and_can_be_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """ja and nein: nein is taken, and said once; with `positive` it is ja, in all that follows."""
    frame = small_frame(n=300)
    frame["died"] = np.where(frame["died"] == 1, "ja", "nein")
    folder, trees = tmp_path / "cohort", ["--method", "lightgbm", "--set", "trees=3"]
    shown: dict[str, Any] = {}
    for name, key in (("nein", ""), ("ja", 'positive = "ja"\n')):
        write_frame(folder, frame, toml=TOML.replace("[split]", f"{key}[split]"))
        run = tmp_path / name
        for words in (["describe", folder, "--json"], ["fit", folder, "--out", run, *trees]):
            assert remind(monkeypatch, *words) == 0
            err = capsys.readouterr().err
            assert err.count("the positive class is died = nein") == (name == "nein")
        assert remind(monkeypatch, "evaluate", run) == 0
        assert f"; F1 of died = {name}\n" in capsys.readouterr().out
        assert remind(monkeypatch, "evaluate", run, "--json") == 0
        shown[name] = json.loads(capsys.readouterr().out)
        assert shown[name]["positive"] == name
        out = tmp_path / "p.csv"
        assert remind(monkeypatch, "predict", run, folder / "patients.parquet", "--out", out) == 0
        capsys.readouterr()
        assert list(pd.read_csv(out))[2] == f"prob_{name}"
    predicted = pd.read_parquet(tmp_path / "ja" / "predictions.parquet")
    is_true, is_said = predicted["label"] == "ja", predicted["prob_ja"] > 0.5
    f1 = 2 * (is_true & is_said).sum() / (is_true.sum() + is_said.sum())
    assert shown["ja"]["overall"]["f1"] == pytest.approx(f1)
    assert remind(monkeypatch, "evaluate", tmp_path / "nein") == 2
    assert "has changed since the run was fitted" in capsys.readouterr().err


def test_evaluate_and_diagnose_show_the_same_calibration_error(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert remind(monkeypatch, "evaluate", run, "--json") == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert remind(monkeypatch, "diagnose", run, "--parts", "calibration", "--json") == 0
    blocks = json.loads(capsys.readouterr().out)["calibration"]["blocks"]
    assert blocks["overall"]["ci"]["ece"] is not None
    for name, block in blocks.items():
        shown = block["ece"], block["ci"]["ece"]
        assert shown == (evaluated[name]["ece"], evaluated[name]["ci"]["ece"]), name


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
    (["fit", "{cohort}", "--out", "{table}/a/b"], "cannot be written (Not a directory)"),
    (["fit", "{cohort}", "--out", "{new}/b", "--set", "device=cuda"], "sees no CUDA device"),
    (["evaluate", "{new}"], "is no run folder: it does not exist"),
    (["evaluate", "{run}", "--split", "tset"], "split must be one of train, val, test"),
    (["predict", "{run}", "absent.csv", "--out", "{new}.csv"], "absent.csv"),
    (["predict", "{run}", "{table}", "--out", "{new}.xlsx"], ".csv, .csv.gz or .parquet"),
    (["predict", "{run}", "{table}", "--out", "{new}.csv"], '"lactte"'),
    (["predict", "{run}", "{table}", "--out", "{folder}"], "folder.csv is a folder"),
    (["results", "{new}", "--out", "{folder}"], "folder.csv must end in .md"),
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
    cohort: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    table, folder = tmp_path / "table.csv", tmp_path / "folder.csv"
    folder.mkdir()
    small_frame(n=10)[["pid", "lactate", "crp", "ventilated"]].rename(
        columns={"lactate": "lactte"}
    ).to_csv(table, index=False)
    places = {"new": tmp_path / "new", "run": run, "table": table, "folder": folder}
    places["cohort"] = cohort
    assert remind(monkeypatch, *(a.format(**places) for a in arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.csv", "table.csv"]


def test_the_command_line_names_every_method() -> None:
    """By hand, since importing them would import torch before any command begins."""
    option = get_type_hints(fit, include_extras=True)["method"].__metadata__[0]
    assert sorted(option.help.split(", ")) == sorted(METHODS)
