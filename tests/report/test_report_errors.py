"""What a report refuses, in one sentence that says what to do."""

from pathlib import Path
from typing import Any

import pytest

from remind.errors import InputError
from remind.report import write_report
from tests.report.make import make_run


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing: here only what is said counts."""
    monkeypatch.setattr("remind.report.svg._drawn", lambda *_: '<svg viewBox="0 0 9 9"></svg>')


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (lambda p: p / "nowhere", "nowhere is no run folder: it does not exist"),
        (lambda p: p, "is no run folder: it has no config.toml"),
    ],
)
def test_what_is_no_run_is_refused(tmp_path: Path, prepare: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        write_report([prepare(tmp_path)])


def test_a_run_that_was_not_evaluated_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", num=200)
    (run / "evaluation.json").unlink()
    with pytest.raises(InputError, match=f"{run} was not evaluated: run remind evaluate {run}"):
        write_report([run])


def test_damaged_files_are_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", num=200)
    (run / "evaluation.json").write_text('{"n": ')
    with pytest.raises(InputError, match=r"evaluation\.json is damaged"):
        write_report([run])
    (run / "evaluation.json").write_text("{}")
    with pytest.raises(InputError, match="another version of REMIND"):
        write_report([run])


def test_runs_on_other_patients_are_refused(tmp_path: Path, quick: None) -> None:
    plain = make_run(tmp_path / "plain", num=300)
    other = make_run(tmp_path / "a", method="tabm", fingerprint="0" * 64, num=300)
    with pytest.raises(InputError, match="were fitted on different patients or values"):
        write_report([plain, other])
    other = make_run(tmp_path / "b", method="tabm", split="val", num=300)
    with pytest.raises(InputError, match=r'evaluated on the split "test" and .* on "val"'):
        write_report([plain, other])
    other = make_run(tmp_path / "c", method="tabm", num=200)
    with pytest.raises(InputError, match="are not of the same patients: overall has"):
        write_report([plain, other])
    with pytest.raises(InputError, match="is given twice: name each run once"):
        write_report([plain, plain / "." / ".." / plain.name])
    with pytest.raises(InputError, match="needs at least one run"):
        write_report([])


def test_where_the_page_goes(tmp_path: Path, quick: None) -> None:
    plain = make_run(tmp_path / "runs" / "plain", num=200)
    assert write_report([plain]) == plain / "report.html"
    with pytest.raises(InputError, match=r"must end in \.html"):
        write_report([plain], tmp_path / "report.pdf")
    with pytest.raises(InputError, match="is no folder: make it, or write elsewhere"):
        write_report([plain], tmp_path / "none" / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
