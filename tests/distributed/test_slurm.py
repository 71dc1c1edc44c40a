"""SLURM, simulated: the variables that srun sets, and a stand-in for srun that starts the tasks."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from remind.errors import InputError
from remind.methods import find_method
from remind.training import fit_run, with_overrides
from remind.training.launch import Launch
from remind.training.ranks import environment
from tests.cohort.make import write_cohort
from tests.distributed.conftest import ADDRESS
from tests.distributed.start import QUIET, ROOT
from tests.distributed.test_hosts import SETTINGS

SCRIPT = ROOT / "examples/slurm.sh"
SETS = [word for setting in SETTINGS for word in ("--set", setting)]
TASK = """
declare -x SLURM_NTASKS=2 SLURM_STEP_NUM_TASKS=2 SLURM_STEP_NUM_NODES=2 SLURM_NNODES=2
declare -x SLURM_PROCID=$task SLURM_NODEID=$task SLURM_LOCALID=0
"""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("data") / "cohort", n=300)


@pytest.fixture(scope="module")
def alone(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    folder, method = tmp_path_factory.mktemp("alone") / "run", find_method("default")
    fit_run(cohort, method, with_overrides(method.default_settings(), SETTINGS), folder)
    return folder


def losses(run: Path) -> list[float]:
    return [
        json.loads(line)[key]
        for line in (run / "metrics.jsonl").read_text().splitlines()
        for key in ("train_loss", "val_log_loss")
    ]


def job(num: int = 4711) -> dict[str, str]:
    """The environment of a batch script of two hosts with one task each."""
    return {
        **os.environ,
        **QUIET,
        "SLURM_JOB_ID": str(num),
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_JOB_NUM_NODES": "2",
    }


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(0o755)


def test_tasks_of_one_host_are_ranks(cohort: Path, alone: Path, tmp_path: Path) -> None:
    """`srun --ntasks-per-node=2 remind fit …` needs neither --devices nor --nodes."""
    place = {"SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1"}
    place |= {"SLURM_NTASKS_PER_NODE": "2", "SLURM_NODELIST": "127.0.0.1", "SLURM_NODEID": "0"}
    fits = [
        subprocess.Popen(
            [sys.executable, "-m", "remind.cli", "fit", str(cohort), "--out", str(tmp_path), *SETS],
            cwd=ROOT,
            env={**job(os.getpid()), **place, "SLURM_PROCID": str(r), "SLURM_LOCALID": str(r)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for r in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in fits]
    assert [process.returncode for process in fits] == [0, 0], outputs
    assert sum(output.count("the run is in") for output, _ in outputs) == 1
    assert losses(tmp_path) == pytest.approx(losses(alone), rel=2e-5)


def test_the_script_fits_over_hosts(
    hosts: list[str], cohort: Path, alone: Path, tmp_path: Path
) -> None:
    """examples/slurm.sh with a stand-in for srun: a task in each of two network namespaces."""
    tasks = "\n".join(f"(task={i}; {TASK} ip netns exec {h} $@) &" for i, h in enumerate(hosts))
    program(tmp_path, "srun", f"while [[ $1 == --* ]]; do shift; done\n{tasks}\nwait -n && wait -n")
    program(tmp_path, "remind", f'exec {sys.executable} -m remind.cli "$@"')
    run = tmp_path / "run"
    done = subprocess.run(
        ["bash", SCRIPT, cohort, run, *SETS],
        cwd=ROOT,
        env={
            **job(),
            "SLURM_JOB_NODELIST": ADDRESS[0],
            "SLURM_GPUS_ON_NODE": "1",
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the run is in") == 1
    assert losses(run) == pytest.approx(losses(alone), rel=2e-5)


def test_the_script_is_requeued_before_its_time_is_over(tmp_path: Path) -> None:
    """The signal of sbatch ends the step, and the same job is put in the queue again."""
    program(tmp_path, "srun", f'echo $$ "$@" > {tmp_path}/step\nexec sleep 60')
    program(tmp_path, "scontrol", f'echo "$@" > {tmp_path}/asked')
    environ = {**job(), "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_GPUS_ON_NODE": "4"}
    script = subprocess.Popen(["bash", SCRIPT, "icu", "run"], env=environ)
    step = tmp_path / "step"
    while not step.exists() or not step.read_text():
        assert script.poll() is None
        time.sleep(0.01)
    script.send_signal(signal.SIGUSR1)
    assert script.wait(timeout=30) == 0
    assert (tmp_path / "asked").read_text() == "requeue 4711\n"
    pid, *words = step.read_text().split()
    assert not Path(f"/proc/{pid}").exists()
    assert " ".join(words) == (
        "--kill-on-bad-exit=1 remind fit icu --out run --nodes 2 --devices 4 --restarts 3 --resume"
    )


@pytest.mark.parametrize(
    ("options", "is_to_start"),
    [
        ({"nodes": 2, "devices": 4}, True),  # one task per host: it starts the ranks of its host
        ({"nodes": 2, "devices": 1}, False),  # the tasks are the ranks
        ({"nodes": 2, "devices": 1, "restarts": 1}, True),  # only who starts ranks can do so again
        ({}, False),
    ],
)
def test_who_starts_ranks(
    options: dict[str, int], is_to_start: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**job(), "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}.items():
        monkeypatch.setenv(name, value)
    assert Launch(**options).is_to_start() is is_to_start  # pyright: ignore[reportArgumentType]


def test_tasks_without_a_number_per_host_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    with pytest.raises(InputError, match=r"SLURM started 4 tasks .* add --ntasks-per-node"):
        environment()
