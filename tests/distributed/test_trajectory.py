"""Ranks train the model that one process trains."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.distributed.cases import CASES, fit
from tests.distributed.start import start_ranks
from tests.training.toy import toy_cohort

BY_TWO = [*CASES, "fsdp mixup", "fsdp held_out", "fsdp rare", "fsdp pretrained"]
BY_FOUR = ["ensemble", "mixup", "pretrained", "fsdp tokens", "fsdp held_out"]
"""Cases; the last is begun by two ranks and finished by four."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case by one process."""
    folder = tmp_path_factory.mktemp("alone")
    for case in CASES:
        fit(case, folder / case, toy_cohort())
    return folder


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cases by two ranks."""
    folder = tmp_path_factory.mktemp("two")
    run_cases(folder, BY_TWO, 2)
    return folder


def run_cases(folder: Path, cases: list[str], num: int) -> None:
    """Let ranks go on from what is in a folder; all end with the same bits."""
    for status, output in start_ranks(["-m", "tests.distributed.cases", str(folder), *cases], num):
        assert status == 0, output
    for case in cases:
        assert len({(folder / f"{case}.{r}").read_text() for r in range(num)}) == 1, case


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_same_run(run: Path, alone: Path) -> None:
    """Losses, criteria and weights of one process, to rounding."""
    for ours, theirs in zip(metrics(run), metrics(alone), strict=True):
        for key in ("train_loss", "val_log_loss", "criterion", "lr"):
            assert ours[key] == pytest.approx(theirs[key], rel=2e-5), (run, ours["epoch"], key)
    weights, other = (load_file(folder / "model.safetensors") for folder in (run, alone))
    assert weights.keys() == other.keys()
    for name, weight in weights.items():
        message = f"{run} {name}"
        torch.testing.assert_close(weight, other[name], rtol=2e-3, atol=2e-4, msg=message)


def begun(run: Path, to: Path) -> None:
    """Copy a run as it was after its first epoch."""
    shutil.copytree(run, to)
    (to / "model.safetensors").unlink()
    shutil.rmtree(to / "checkpoints/epoch-0002")


@pytest.mark.parametrize("case", BY_TWO)
def test_two_ranks_train_the_model_of_one(case: str, by_two: Path, alone: Path) -> None:
    assert_same_run(by_two / case, alone / case.rpartition(" ")[2])


def test_four_ranks_train_and_finish_the_model_of_one(
    by_two: Path, alone: Path, tmp_path: Path
) -> None:
    begun(by_two / BY_FOUR[-1], tmp_path / BY_FOUR[-1])
    run_cases(tmp_path, BY_FOUR, 4)
    for case in BY_FOUR:
        assert_same_run(tmp_path / case, alone / case.rpartition(" ")[2])


def test_one_process_finishes_what_shards_began(by_two: Path, alone: Path, tmp_path: Path) -> None:
    """Each rank wrote its rows of every parameter, average and moment; nothing is pickled."""
    run = tmp_path / "run"
    begun(by_two / "fsdp held_out", run)
    names = sorted(file.name for file in (run / "checkpoints/epoch-0001").iterdir())
    shards = [f"shard-0000{rank}-of-00002.safetensors" for rank in range(2)]
    assert names == [*shards, "state.json", "tensors.safetensors"]
    fit("fsdp held_out", run, toy_cohort(), resume=True)
    assert_same_run(run, alone / "held_out")
