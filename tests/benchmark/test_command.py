"""`remind benchmark` and `remind results` as a user runs them."""

import json
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from remind.benchmark import tables
from remind.commands import benchmark as command
from tests.benchmark.make import inline
from tests.cohort.make import write_cohort
from tests.commands import remind

SMALL = ["--seeds", "1", "--folds", "2", "--edges", "5,20", "--num-boot", "20"]
FAST = ["--set", "lightgbm:trees=4", "--set", "catboost:trees=4", "--set", "xgboost:trees=4"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"), n=120)


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "on_processes", lambda jobs: inline())


def test_a_benchmark_writes_its_report_and_can_be_shown_and_pooled(
    cohort: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "b"
    words = ["--methods", "lightgbm,xgboost,catboost", *SMALL, *FAST, "--out", out]
    assert remind(monkeypatch, "benchmark", cohort, *words, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["errors"] == []
    assert set(shown["blocks"]["all"]["contenders"]) == {"lightgbm", "xgboost", "catboost"}
    assert all(cost["parameters"] > 4 for cost in shown["cost"].values())
    table = pd.read_csv(out / "results.csv")
    row = table.query("block == 'all' and contender == 'xgboost' and metric == 'auroc'").iloc[0]
    value = shown["blocks"]["all"]["contenders"]["xgboost"]["auroc"]
    assert (row["mean"], row["difference"]) == (value["mean"], value["difference"])
    assert (out / "results.tex").read_text().count(r"\midrule") == len(shown["blocks"])
    assert (out / "cd.svg").read_text().startswith("<?xml")

    assert remind(monkeypatch, "benchmark", "--out", out, "--report", "--num-boot", "20") == 0
    text, told = capsys.readouterr()
    assert told == f"the report is in {out}, as results.md, .csv, .tex and .json\n"
    assert "; 2 folds x 1 seed; " in text
    assert "\nBetter: a higher AUROC, a lower log loss. " in text
    assert text.strip() == (out / "results.md").read_text().strip()
    with (out / "benchmark.toml").open("rb") as file:
        (line,) = tomllib.load(file)["commands"]
    assert line in text
    assert "--methods lightgbm,xgboost,catboost --split cross-validation --folds 2" in line

    assert "class" not in text
    words = ["--out", out, "--report", "--metrics", "f1,auprc", "--num-boot", "20"]
    assert remind(monkeypatch, "benchmark", *words) == 0
    assert "no tuning. AUPRC and F1: of the class 1.\n" in capsys.readouterr().out

    words = ["--out", out, "--report", "--edges", "9", "--num-boot", "20", "--json"]
    assert remind(monkeypatch, "benchmark", *words) == 0
    assert set(json.loads(capsys.readouterr().out)["blocks"]) <= {"all", "< 9", "≥ 9", "unseen"}

    words = ["--methods", "lightgbm", *SMALL[:4], "--num-boot", "20", "--json", *FAST[:2]]
    assert remind(monkeypatch, "benchmark", cohort, *words, "--out", out) == 0
    again = json.loads(capsys.readouterr().out)
    assert list(again["blocks"]) == list(shown["blocks"])  # the edges are those of the folder

    document = tmp_path / "results.md"
    words = ["--out", document, "--subject", "catboost", "--num-boot", "20"]
    assert remind(monkeypatch, "results", out, *words) == 0
    line = f"`remind results {out} --subject catboost --num-boot 20 --out {document}`"
    assert line in document.read_text()
    assert "## Where catboost does not lead" in document.read_text()
    table, before = cohort / "cohort.toml", (out / "results.md").read_bytes()
    kept = table.read_bytes()
    for place, said in (
        (table, f"{table} must end in .md: the document is Markdown"),
        (out / "results.md", "is the report of a benchmark: write the document elsewhere"),
    ):
        capsys.readouterr()
        assert remind(monkeypatch, "results", out, "--out", place) == 2
        assert said in capsys.readouterr().err
    assert (table.read_bytes(), (out / "results.md").read_bytes()) == (kept, before)


def test_names_are_escaped_in_latex() -> None:
    values = dict.fromkeys(("mean", "ci", "difference", "difference_ci", "p", "p_holm"))
    result = {
        "metrics": ["auroc"],
        "reference": "a_b",
        "seeds": 1,
        "seeds_of": {"a_b": [0]},
        "blocks": {
            "without lab#1_{x}~^$\\": {"n": 2, "contenders": {"a_b": {"auroc": values}}},
            "< 5": {"n": 2, "contenders": {"a_b": {"auroc": values}}},
        },
    }
    text = tables.latex(result)
    name = r"lab\#1\_\{x\}\textasciitilde{}\textasciicircum{}\$\textbackslash{}"
    assert rf"The same without {name} ($n = 2$)" in text
    assert r"Combinations of $<$ 5 patients" in text
    assert r"a\_b & -- & --" in text


def test_a_picture_that_cannot_be_drawn_is_refused_before_anything_is_fitted(
    cohort: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    words = ["--methods", "lightgbm,xgboost,tabm", *SMALL, "--out", tmp_path / "b"]
    assert remind(monkeypatch, "benchmark", cohort, *words) == 2
    assert "pip install 'remind-med[benchmark]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


WRONG = [
    (["{cohort}", "--methods", "lihtgbm"], 'did you mean "lightgbm"'),
    (["{cohort}", "--objectives", "emr"], 'no objective "emr"; did you mean "erm"'),
    (["{cohort}", "--reference", "tabm"], 'no contender "tabm"; did you mean "lightgbm"?'),
    (["{cohort}", "--split", "combos"], 'no split "combos"'),
    (["{cohort}", "--hide", "lab"], '--hide: no modality "lab"; did you mean "labs"'),
    (["{cohort}", "--metrics", "auc"], 'no metric "auc"; did you mean "auroc"'),
    (["{cohort}", "--edges", "few"], "--edges takes whole numbers with commas"),
    (["{cohort}", "--set", "tabm:lr=1"], 'is for "tabm", which does not take part'),
    (["{cohort}", "--set", "epochs=2"], 'lightgbm has no setting "epochs": say whom it is for'),
    (["{cohort}", "--tune", "never"], "tune must be"),
    (["{cohort}", "--budget", "0"], "budget must be a whole number >= 1, got 0"),
    (["{cohort}", "--jobs", "0"], "--jobs must be at least 1, got 0"),
    (["{cohort}", "--executor", "slurm"], "--executor must be one of processes, ray"),
    (["{cohort}", "--address", "h:1"], "add --executor ray"),
    ([], "needs a COHORT"),
    (["--report"], "is no folder of a benchmark: it does not exist"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_wrong_input_gets_one_sentence_and_writes_nothing(
    arguments: list[str],
    said: str,
    cohort: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [word.format(cohort=cohort) for word in arguments]
    assert remind(monkeypatch, "benchmark", *words, "--out", tmp_path / "b") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
