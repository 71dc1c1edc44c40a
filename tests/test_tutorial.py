"""The tutorial's commands run as they stand, on a smaller hospital and for fewer epochs."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "tutorial.md"
PATIENTS = 100
QUICK = {
    "default": ["epochs=1", "width=16", "hidden=16", "members=2"],
    "lightgbm": ["trees=5"],
}
SAME_WORDS = 0.6  # share of the words shown that a smaller hospital prints too


def steps() -> list[tuple[str, str]]:
    """Each command with the output that is shown under it ("" if none is)."""
    text = TUTORIAL.read_text(encoding="utf-8")
    pattern = r"```sh\n(.*?)```(?:\s*```text\n(.*?)```)?"
    return re.findall(pattern, text, flags=re.DOTALL)


def smaller(command: str) -> list[str]:
    """The command with a size and settings that fit a test."""
    words = shlex.split(command)
    assert words[0] == "remind", command
    if words[1] == "prepare":
        words += ["--patients", str(PATIENTS)]
    if words[1] == "fit":
        method = words[words.index("--method") + 1] if "--method" in words else "default"
        words += [word for setting in QUICK[method] for word in ("--set", setting)]
    return [sys.executable, "-m", "remind.cli", *words[1:]]


def words_of(text: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Za-z_]{3,}", text)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tutorial")


def test_the_commands_of_the_tutorial_run_one_after_the_other(folder: Path) -> None:
    environment = {**os.environ, "REMIND_CACHE": str(folder / "cache"), "COLUMNS": "100"}
    commands = steps()
    assert {shlex.split(command)[1] for command, _ in commands} == {
        "prepare",
        "describe",
        "fit",
        "evaluate",
        "predict",
    }
    for command, shown in commands:
        done = subprocess.run(
            smaller(command),
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}{done.stderr}"
        assert "Traceback" not in done.stderr
        printed = words_of(done.stdout + done.stderr)
        known = words_of(shown)
        assert len(known & printed) >= SAME_WORDS * len(known), (command, known - printed)


def test_what_the_tutorial_leaves_behind_is_there(folder: Path) -> None:
    predictions = pd.read_csv(folder / "predictions.csv")
    new = pd.read_parquet(folder / "hospital" / "new" / "patients.parquet")
    assert predictions["stay_id"].tolist() == new["stay_id"].tolist()
    assert predictions["prob_1"].between(0, 1).all()
    assert (folder / "hospital.svg").stat().st_size > 10_000


def test_the_pictures_of_the_tutorial_are_there() -> None:
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", TUTORIAL.read_text(encoding="utf-8"))
    assert pictures
    assert all((TUTORIAL.parent / picture).is_file() for picture in pictures)
