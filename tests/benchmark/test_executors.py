"""Processes and Ray run the same pure function, and whoever kills them leaves nothing half done."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from remind.benchmark.executors import Executor, Processes, Ray
from remind.benchmark.report import make_report
from remind.benchmark.run import on_processes, run_benchmark
from remind.cohort import read_cohort
from remind.errors import InputError
from tests.benchmark.calls import divide
from tests.benchmark.make import content, inline, request
from tests.cohort.make import write_cohort

ROOT = Path(__file__).parents[2]
FILES = ("predictions.parquet", "results.csv", "results.tex")


def outcomes(executor: Executor, *divisors: float) -> dict[object, object]:
    """Key -> value, or error."""
    for by in divisors:
        executor.submit(by, by)
    ended = dict(executor.wait() for _ in divisors)
    executor.close()
    return {key: outcome.error or outcome.value for key, outcome in ended.items()}


def test_each_call_has_a_process_of_its_own_and_errors_are_outcomes() -> None:
    ended = outcomes(Processes(divide, 6.0, 2), 3, 4, 0, 1, 2)
    value, other = ended.pop(3), ended.pop(4)
    assert isinstance(value, tuple)
    assert isinstance(other, tuple)
    assert (value[0], other[0]) == (2.0, 1.5)
    assert len({value[1], other[1], os.getpid()}) == 3
    assert value[2] == "1"
    assert ended == {
        0: "ZeroDivisionError: float division by zero",
        1: "not by one",
        2: "its process died (exit status -9)",
    }


def test_a_killed_command_leaves_no_process_and_is_resumed_to_the_same_bits(
    tmp_path: Path,
) -> None:
    """SIGKILL in the middle; the rest is done here, and equals what processes do."""
    folder = write_cohort(tmp_path / "cohort", n=120)
    asked = request(("lightgbm",), seeds=2, budget=2)
    words = ["--methods", "lightgbm", "--seeds", "2", "--folds", "2", "--budget", "2"]
    words += ["--edges", "5,20", "--set", "lightgbm:trees=4", "--num-boot", "20"]
    out = ["--out", str(tmp_path / "killed"), "--jobs", "2"]
    command = [sys.executable, "-m", "remind.cli", "benchmark", str(folder), *words, *out]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "trial 1" not in (line := process.stderr.readline()):
        assert process.poll() is None, line
    children = _descendants(process.pid)
    process.kill()
    process.wait()
    process.stderr.close()
    deadline = time.monotonic() + 20
    while any(_is_alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_is_alive(child) for child in children)

    cohort = read_cohort(folder)
    run_benchmark(cohort, asked, tmp_path / "killed", inline())
    run_benchmark(cohort, asked, tmp_path / "whole", on_processes(2))
    for name in ("killed", "whole"):
        make_report(tmp_path / name, num_boot=20)
    assert content(tmp_path / "killed", *FILES) == content(tmp_path / "whole", *FILES)


@pytest.mark.filterwarnings("ignore")  # Ray's own, of its sockets and of versions to come
def test_a_local_ray_cluster_does_what_processes_do(tmp_path: Path) -> None:
    """One cluster for all, kept cheap: two processors, three calls, one benchmark of two fits."""
    ray = pytest.importorskip("ray")
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )
    try:
        ended = outcomes(Ray(divide, 6.0, jobs=2), 3, 1)
        assert ended[1] == "not by one"
        value = ended[3]
        assert isinstance(value, tuple)
        assert value[0] == 2.0
        cohort = read_cohort(write_cohort(tmp_path / "cohort", n=120))
        asked = request(("lightgbm",))
        run_benchmark(cohort, asked, tmp_path / "ray", lambda f, shared: Ray(f, shared))
        run_benchmark(cohort, asked, tmp_path / "here", inline())
        for name in ("ray", "here"):
            make_report(tmp_path / name, num_boot=20)
        assert content(tmp_path / "ray", *FILES) == content(tmp_path / "here", *FILES)
    finally:
        ray.shutdown()


def test_a_cluster_that_does_not_answer_is_refused_at_once() -> None:
    pytest.importorskip("ray")
    with pytest.raises(InputError, match=r"--address 127\.0\.0\.1:9: no Ray cluster answers there"):
        Ray(divide, 6.0, address="127.0.0.1:9")


def _descendants(pid: int) -> list[int]:
    """Processes below one, by /proc."""
    parent_of = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parent_of[int(stat.parent.name)] = int(fields[1])
    found, last = [], [pid]
    while last:
        last = [child for child, parent in parent_of.items() if parent in last]
        found += last
    return found


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
