"""What the README and the examples show works as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from remind.cohort import load_spec

ROOT = Path(__file__).parents[1]


def blocks(language: str) -> list[str]:
    """The README's code blocks of a language."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
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
