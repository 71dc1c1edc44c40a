"""What the README and the examples show works as it stands there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from remind.cohort import load_spec
from tests.benchmark.make import inline
from tests.cohort.make import write_cohort
from tests.commands import remind

ROOT = Path(__file__).parents[1]
QUICK = ["--set", "lightgbm:trees=3", "--num-boot", "10", "--edges", "5,20"]
SMALL = ["--set", "transformer:epochs=1", "--set", "transformer:width=8"]


def blocks(language: str, document: str = "README.md") -> list[str]:
    """The code blocks of a language."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_cohort_of_the_readme_is_valid(tmp_path: Path) -> None:
    (toml,) = blocks("toml")
    (tmp_path / "cohort.toml").write_text(toml, encoding="utf-8")
    assert load_spec(tmp_path).modality_names == ("vitals", "ecg_embedding")


def test_the_estimator_of_the_readme_runs() -> None:
    (code,) = blocks("python")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 4)), columns=["hr", "map", "lactate", "ph"])
    frame.loc[rng.random(60) < 0.4, ["lactate", "ph"]] = np.nan
    quick = code.replace("seed=0", 'seed=0, settings={"epochs": 1, "width": 8, "members": 2}')
    assert quick != code
    names = {"frame": frame, "y": np.arange(60) % 2}
    exec(quick, names)
    assert names["clf"].predict_proba(frame).shape == (60, 2)


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_the_examples_run(script: Path) -> None:
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_fits_of_the_docs_by_several_processes_run(tmp_path: Path) -> None:
    """One after the other, on a small cohort; what needs hosts or SLURM is no block of "sh"."""
    cohort = write_cohort(tmp_path / "cohort", n=120)
    commands = blocks("sh", "docs/distributed.md")
    assert len(commands) == 5
    programs = {
        "remind": [sys.executable, "-m", "remind.cli"],
        "torchrun": [sys.executable, "-m", "torch.distributed.run"],
    }
    for command in commands:
        name, *words = shlex.split(command.replace("support2", str(cohort)))
        words += ["--set", "epochs=1", "--set", "width=8", "--set", "members=2"]
        done = subprocess.run(
            [*programs[name], *words], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout.count("the run is in") == 1, command


def test_the_benchmarks_of_the_docs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, on a small cohort, with small models and in this process."""
    cohort = write_cohort(tmp_path / "cohort", n=120)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("remind.benchmark.run.on_processes", lambda jobs: inline())
    monkeypatch.setattr("remind.commands.benchmark.on_processes", lambda jobs: inline())
    commands = blocks("sh", "docs/benchmark.md")
    assert len(commands) == 4
    for command in commands:
        words = shlex.split(command.replace("support2", str(cohort)))
        if "--report" in words or words[1] == "results":
            words += QUICK[2:4]
        else:
            words += QUICK + (SMALL if "transformer" in command else [])
            words += ["--set", "xgboost:trees=3"] if "xgboost" in command else []
        assert words[0] == "remind"
        assert remind(monkeypatch, *words[1:]) == 0, command
    assert "transformer+erm" in (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "xgboost" in (tmp_path / "bench" / "results.csv").read_text(encoding="utf-8")
    (code,) = blocks("python", "docs/benchmark.md")
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(code.replace("support2", str(cohort)), names)
    assert names["errors"] == []
