"""Preparing a cohort folder: there whole or not at all, never over what is there already."""

from pathlib import Path

import pytest

from remind.cohort import load_spec
from remind.errors import InputError
from remind.sources.manifest import Manifest
from remind.sources.prepare import PREPARE, Preparation, prepare
from tests.commands import remind


@pytest.fixture(autouse=True)
def sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that writes one file, and one that breaks off after it."""

    def write(folder: Path, *, word: str = "whole") -> Manifest:
        (folder / "file.txt").write_text(word)
        if word == "half":
            raise RuntimeError("broken off")
        return Manifest(source="words", unit="words")

    monkeypatch.setitem(PREPARE, "words", Preparation(write=write, options=("word",)))


def sentence(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("exists", [True, False])
def test_a_new_or_an_empty_folder_is_filled(exists: bool, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "cohort"
    if exists:
        out.mkdir(parents=True)
    prepare("words", out, word="other")
    assert (out / "file.txt").read_text() == "other"
    assert [path.name for path in out.parent.iterdir()] == ["cohort"]
    assert out.stat().st_mode & 0o777 == 0o755


def test_what_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="broken off"):
        prepare("words", tmp_path / "out", word="half")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    remedy = "give --out a folder that does not exist yet"
    full, file = tmp_path / "full", tmp_path / "file"
    assert sentence(lambda: prepare("words", full)) == f"{full} is not empty: {remedy}"
    assert sentence(lambda: prepare("words", file)) == f"{file} is a file: {remedy}"
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
    assert "cannot be made" in sentence(lambda: prepare("words", file / "inside"))


def test_two_at_once_to_one_folder_do_not_collide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second is refused in a sentence, the first ends whole, and so does one elsewhere."""
    out = tmp_path / "out"

    def write(folder: Path) -> Manifest:
        (folder / "file.txt").write_text("first")
        assert remind(monkeypatch, "prepare", "words", "--out", out) == 2
        prepare("words", tmp_path / "elsewhere")
        return Manifest(source="slow", unit="words")

    monkeypatch.setitem(PREPARE, "slow", Preparation(write=write))
    prepare("slow", out)
    assert (out / "file.txt").read_text() == "first"
    assert (tmp_path / "elsewhere" / "file.txt").read_text() == "whole"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "out"]
    assert capsys.readouterr().err.strip() == (
        f"remind: another remind prepare is filling {out}: wait until it is done, "
        "or give --out another folder"
    )


def test_a_lock_that_a_killed_process_left_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / ".out.lock").touch()
    prepare("words", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_unknown_source_or_option_names_those_there_are(tmp_path: Path) -> None:
    known = ", ".join(f'"{name}"' for name in PREPARE)
    assert sentence(lambda: prepare("toy", tmp_path / "out")) == (
        f'no source "toy" to prepare; there are {known}'
    )
    assert sentence(lambda: prepare("words", tmp_path / "out", wrd="x")) == (
        '"words" has no option "wrd"; it takes word; did you mean "word"?'
    )


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["toy-hospital", "--patients", "40"], 0, "next: remind describe"),
        (["toy-hospital", "--patients", "4"], 2, "patients must be at least 40, got 4"),
        (["toyhospital"], 2, 'did you mean "toy-hospital"?'),
        (["words", "--patients", "40"], 2, '"words" has no option "patients"; it takes word'),
    ],
)
def test_the_command(
    arguments: list[str],
    status: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert remind(monkeypatch, "prepare", *arguments, "--out", out) == status
    captured = capsys.readouterr()
    assert said in (captured.out if status == 0 else captured.err)
    if status == 0:
        assert load_spec(out).cohort.name == "toy-hospital"
    else:
        assert not out.exists()
