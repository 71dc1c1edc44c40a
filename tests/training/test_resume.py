"""A resumed run equals an uninterrupted one, bit for bit."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from remind.errors import InputError
from remind.objectives import OBJECTIVES
from remind.training import PlainProgress, Run, fit_run, with_overrides
from tests.training.toy import same_bytes, small_config, toy_cohort, toy_method

ROOT = Path(__file__).parents[2]
STEPS = 25  # 260 training patients in batches of 64, 5 epochs
RENAMES = 24  # config, encoding, 4 per epoch, weights written and moved


class StopError(Exception):
    """Something that ends a run from outside."""


class Stopper(PlainProgress):
    """Interrupts after some epochs."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def on_epoch(self, metrics: Any) -> None:
        if metrics["epoch"] == self.epoch:
            raise StopError


def lines(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without the seconds."""
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{**record, "seconds": None, "waiting": None} for record in records]


def assert_same_run(folder: Path, other: Path) -> None:
    for name in ("model.safetensors", "config.toml", "encoding.json"):
        assert same_bytes(folder / name, other / name), name
    last = "checkpoints/epoch-0005/tensors.safetensors"
    assert same_bytes(folder / last, other / last)
    assert lines(folder) == lines(other)
    assert len(lines(folder)) == 5


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    fit_run(toy_cohort(), toy_method(), out=folder)
    return folder


def test_killed_at_random_points_and_resumed(whole: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng()
    steps, renames = rng.integers(1, STEPS + 1, 3), rng.integers(1, RENAMES + 1, 3)
    points = [("step", n) for n in steps] + [("rename", n) for n in renames]
    # In the first step, and between the last checkpoint and its line of metrics.jsonl.
    points += [("step", 1), ("rename", RENAMES - 2)]
    cases = [f"{tmp_path / str(i)}:{point}:{n}" for i, (point, n) in enumerate(points)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.killed", *cases],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(-signal.SIGKILL)] * len(points)
    for i, point in enumerate(points):
        folder = tmp_path / str(i)
        assert not (folder / "model.safetensors").exists(), point
        fit_run(toy_cohort(), toy_method(), out=folder, resume=True)
        assert_same_run(folder, whole)


@pytest.mark.parametrize(
    "overrides",
    [
        *([f"objective={name}"] for name in OBJECTIVES if name != "jtt"),
        ["objective=jtt", "first_epochs=3", "epochs=2"],
        ["objective=paper", "every=3", "gamma=0.5"],
        ["objective=long_tail_dro", "held_out=true"],
    ],
    ids=" ".join,
)
def test_every_objective_resumes(overrides: list[str], tmp_path: Path) -> None:
    cohort, method = toy_cohort(), toy_method()
    settings = with_overrides(method.default_settings(), overrides)
    fit_run(cohort, method, settings, tmp_path / "whole")
    with pytest.raises(StopError):
        fit_run(cohort, method, settings, tmp_path / "resumed", progress=Stopper(2))
    fit_run(cohort, method, settings, tmp_path / "resumed", resume=True)
    assert_same_run(tmp_path / "resumed", tmp_path / "whole")


def test_resume_keeps_the_best_and_the_bad_epochs(tmp_path: Path) -> None:
    """A run that got worse from its first epoch on stops, and has the weights of that epoch."""
    method = toy_method(small_config(lr=0.3, epochs=20, patience=4, schedule="constant"))
    cohort = toy_cohort()
    once = fit_run(cohort, method, out=tmp_path / "whole")
    with pytest.raises(StopError):
        fit_run(cohort, method, out=tmp_path / "resumed", progress=Stopper(4))
    again = fit_run(cohort, method, out=tmp_path / "resumed", resume=True)
    assert _best(once) == _best(again)
    assert _best(once)[0] + 4 == len(lines(tmp_path / "whole")) < 20
    kept = [p.name for p in sorted((tmp_path / "whole/checkpoints").iterdir())]
    best, last = _best(once)
    assert kept == [f"epoch-{e:04d}" for e in sorted({best, last - 1, last})]
    for name in ("model.safetensors", "encoding.json"):
        assert same_bytes(tmp_path / "whole" / name, tmp_path / "resumed" / name)


def _best(run: Run) -> tuple[int, int]:
    assert run.history is not None
    return run.history.best_epoch, len(run.history.metrics)


def test_unfinished_checkpoint_is_ignored(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(StopError):
        fit_run(toy_cohort(), toy_method(), out=tmp_path / "run", progress=Stopper(3))
    half = tmp_path / "run/checkpoints/.tmp-epoch-0004"
    half.mkdir()
    (half / "tensors.safetensors").write_bytes(b"half")
    fit_run(toy_cohort(), toy_method(), out=tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", whole)
    assert not half.exists()


def test_resume_with_other_settings_or_patients_is_refused(tmp_path: Path) -> None:
    cohort, method = toy_cohort(), toy_method()
    folder = tmp_path / "run"
    with pytest.raises(StopError):
        fit_run(cohort, method, out=folder, progress=Stopper(1))
    other = with_overrides(method.default_settings(), ["lr=0.1", "objective=erm"])
    with pytest.raises(InputError) as caught:
        fit_run(cohort, method, other, folder, resume=True)
    assert str(caught.value) == (
        f"{folder} was begun with other settings: lr (0.002, now 0.1), objective (group_dro, now "
        "erm), held_out (False, now None), balanced (False, now None), step (0.01, now None), "
        "adjustment (0.0, now None): resume with the same ones, or name another folder"
    )
    with pytest.raises(InputError, match="was begun on other patients or values of the cohort"):
        fit_run(cohort.select(np.arange(390)), method, out=folder, resume=True)


def test_resuming_a_finished_run_opens_it(whole: Path) -> None:
    before = (whole / "model.safetensors").stat().st_mtime_ns
    run = fit_run(toy_cohort(), toy_method(), out=whole, resume=True, progress=Stopper(1))
    assert len(run.predict(toy_cohort())) == 400
    assert (whole / "model.safetensors").stat().st_mtime_ns == before
