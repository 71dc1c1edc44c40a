"""Two hosts: network namespaces that see each other through one cable and share a file system."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from remind.methods import find_method
from remind.training import fit_run, with_overrides
from tests.cohort.make import write_cohort
from tests.distributed.conftest import ADDRESS
from tests.distributed.start import QUIET, ROOT

SETTINGS = ["device=cpu", "width=16", "hidden=16", "experts=4", "members=4", "dropout=0"]
SETTINGS += ["epochs=2", "batch_size=32"]


def test_two_hosts_train_the_model_of_one(hosts: list[str], tmp_path: Path) -> None:
    """The same command on each host; they meet at the address of the first."""
    write_cohort(tmp_path / "cohort", n=300)
    line = [sys.executable, "-m", "remind.cli", "fit", str(tmp_path / "cohort")]
    line += ["--out", str(tmp_path / "run"), "--devices", "1", "--nodes", "2"]
    line += ["--rendezvous", f"{ADDRESS[0]}:29500"]
    for setting in SETTINGS:
        line += ["--set", setting]
    fits = [
        subprocess.Popen(
            ["ip", "netns", "exec", host, *line],
            cwd=ROOT,
            env={**os.environ, **QUIET},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for host in hosts
    ]
    outputs = [process.communicate(timeout=120) for process in fits]
    assert [process.returncode for process in fits] == [0, 0], outputs
    assert sum(output.count("the run is in") for output, _ in outputs) == 1

    method = find_method("default")
    settings = with_overrides(method.default_settings(), SETTINGS)
    fit_run(tmp_path / "cohort", method, settings, tmp_path / "alone")
    metrics = [
        [json.loads(text) for text in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("run", "alone")
    ]
    for ours, theirs in zip(*metrics, strict=True):
        for key in ("train_loss", "val_log_loss"):
            assert ours[key] == pytest.approx(theirs[key], rel=2e-5)
