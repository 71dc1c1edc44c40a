"""Ranks that die, fail, and go on as another number of ranks; all through `remind fit`."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from remind.errors import InputError
from remind.methods import find_method
from remind.training import TrainConfig, fit_run, with_overrides
from remind.training.engine import check_devices
from remind.training.launch import Launch, launch
from tests.cohort.make import write_cohort
from tests.distributed.start import QUIET, ROOT

SETTINGS = ["device=cpu", "width=16", "hidden=16", "experts=4", "members=4", "dropout=0"]
SETTINGS += [
    "modality_dropout=0.1",
    "epochs=6",
    "pretrain=0",
    "batch_size=32",
    "patience=0",
    "objective=group_dro",
]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "cohort"
    write_cohort(folder, n=400)
    return folder


@pytest.fixture(scope="module")
def alone(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights that one process ends with."""
    folder, method = tmp_path_factory.mktemp("alone") / "run", find_method("default")
    settings = with_overrides(method.default_settings(), SETTINGS)
    fit_run(cohort, method, settings, folder)
    return load_file(folder / "model.safetensors")


def command(cohort: Path, run: Path, *options: str) -> list[str]:
    line = [sys.executable, "-m", "remind.cli", "fit", str(cohort), "--out", str(run), *options]
    for setting in SETTINGS:
        line += ["--set", setting]
    return line


def start(line: list[str], **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        line,
        cwd=ROOT,
        env={**os.environ, **QUIET, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], file: Path) -> None:
    """Until a process has written a file."""
    while not file.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def kill_rank(launcher: subprocess.Popen[str], rank: int, after: Path) -> None:
    """SIGKILL for one rank of a launcher as soon as there is a checkpoint."""
    wait_for(launcher, after)
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    (victim,) = [
        int(pid)
        for pid in children
        if f"RANK={rank}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    ]
    os.kill(victim, signal.SIGKILL)


def assert_same_model(run: Path, expected: dict[str, torch.Tensor]) -> None:
    weights = load_file(run / "model.safetensors")
    assert weights.keys() == expected.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, expected[name], rtol=5e-3, atol=5e-4, msg=name)


def test_killed_ranks(cohort: Path, alone: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """A rank that dies ends all with one sentence, or all start again from the last checkpoint."""
    run = tmp_path / "run"
    process = start(command(cohort, run, "--devices", "2"))
    kill_rank(process, 0, after=run / "checkpoints/epoch-0002")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert [line for line in errors.splitlines() if line.startswith("remind:")][-1] == (
        "remind: rank 0 was killed by signal 9 (SIGKILL), and all others were stopped: "
        "continue from the last checkpoint with --resume"
    )
    assert "Traceback" not in errors

    process = start(command(cohort, run, "--resume", "--devices", "2", "--restarts", "1"))
    kill_rank(process, 1, after=run / "checkpoints/epoch-0004")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    continued = re.findall(r"continuing after epoch (\d+)", errors)
    assert len(continued) == 2, errors
    assert 2 <= int(continued[0]) < int(continued[1])
    assert output.count("the run is in") == 1  # one rank speaks
    assert_same_model(run, alone)


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ([], signal.SIGINT),
        (["--devices", "2"], signal.SIGINT),
        (["--devices", "2"], signal.SIGTERM),
    ],
    ids=["one process", "two ranks", "two ranks, SIGTERM"],
)
def test_an_interrupted_fit_says_so(
    options: list[str], number: signal.Signals, cohort: Path, tmp_path: Path
) -> None:
    """One sentence, whoever is interrupted: the process, or the launcher and with it its ranks."""
    line = command(cohort, tmp_path / "run", *options, "--set", "epochs=1000")
    process = start(line[: line.index("epochs=6") - 1] + line[line.index("epochs=6") + 1 :])
    wait_for(process, tmp_path / "run/checkpoints/epoch-0001")
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    epochs = [text for text in errors.splitlines() if text.startswith("epoch ")]
    assert errors.splitlines()[len(epochs) :] == ["remind: interrupted: continue with --resume"]


def test_what_one_rank_cannot_write_is_said_once(cohort: Path, tmp_path: Path) -> None:
    """And nothing is started again for it; what was written goes on."""
    run = tmp_path / "run"
    options = ["--devices", "2", "--restarts", "3", "--set", "strategy=fsdp"]
    process = start(["bash", "-c", 'ulimit -S -f 9; "$@"', "", *command(cohort, run, *options)])
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert errors == (
        "remind: the checkpoint of epoch 1 could not be written (File too large): "
        "remove the cause and continue with --resume\n"
    )


def test_methods_of_whole_batches_are_refused(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So are more ranks than a host has GPUs."""
    monkeypatch.setattr("remind.training.api.num_ranks", lambda: 2)
    for name in ("muse", "m3care"):
        method = find_method(name)
        with pytest.raises(InputError) as caught:
            fit_run(cohort, method, method.default_settings(), tmp_path / name)
        assert str(caught.value) == (
            f"{name} compares the patients of a batch with each other, which 2 processes share "
            "out: fit it with one"
        )
    monkeypatch.setattr("remind.training.engine.num_ranks", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    method = find_method("default")
    with pytest.raises(InputError, match="2 ranks on a host of which each sees 1 GPUs: start as"):
        fit_run(cohort, method, method.default_settings(), tmp_path / "default")
    check_devices(TrainConfig(device="cpu"))
    assert not [*tmp_path.iterdir()]


def test_what_a_rank_finds_wrong_is_said_once(cohort: Path, tmp_path: Path) -> None:
    """And nothing is started again for it."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.png").write_text("")
    line = command(cohort, tmp_path / "photos", "--devices", "2", "--restarts", "3")
    process = start(line)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert errors == (
        f"remind: {tmp_path / 'photos'} is not empty and holds no run: "
        "name another folder for the run\n"
    )


def test_what_cannot_be_started_is_refused() -> None:
    """Numbers out of range and hosts without a place to meet are refused before anything starts."""
    for options, sentence in (
        ({"devices": 0}, "devices must be a whole number >= 1, got 0"),
        ({"restarts": -1}, "restarts must be a whole number >= 0, got -1"),
        ({"nodes": 2}, "2 nodes need a place to meet: add --rendezvous HOST:PORT"),
        ({"nodes": 2, "rendezvous": "head:door"}, '--rendezvous is HOST:PORT, got "head:door"'),
        (  # so is a host's own name where Debian or Ubuntu was installed
            {"nodes": 2, "rendezvous": "127.0.1.1:29500"},
            '"127.0.1.1" is 127.0.1.1 on this host, where no other finds it: give its address',
        ),
    ):
        with pytest.raises(InputError) as caught:
            launch(Launch(**options), [])  # pyright: ignore[reportArgumentType]
        assert str(caught.value).startswith(sentence)
