"""docs/performance.md: its generated part is replaced, what is written by hand stays."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import distributed, performance
from remind.errors import InputError
from tests.cohort.make import write_cohort


def test_tables_replace_those_of_before_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "train_fits.json").write_text(
        '{"threads": 2, "fit_seconds": {"default": 61.26, "lightgbm": 0.5}}'
    )
    part = performance.generate(tmp_path)
    assert "| default | 61.3 |" in part
    assert "## Whole fits" in part
    once = performance.insert("# Performance\n\nBy hand.\n", part)
    assert once.startswith("# Performance\n\nBy hand.\n\n" + performance.BEGIN)
    page = once + "After.\n"
    assert performance.insert(page, part) == page
    assert "61.3" not in performance.insert(page, "other")


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has none of fusion_step.json, .*: write them first"):
        performance.generate(tmp_path)


def test_several_processes_and_a_killed_one_end_with_the_model_of_one(tmp_path: Path) -> None:
    """A small fit of everything that the page shows of `distributed`, and its table."""
    cohort = write_cohort(tmp_path / "cohort", n=300)
    folder = tmp_path / "fits"
    plan = distributed.Plan(cohort=str(cohort), epochs=4, lr=1e-3, width=16, folder=folder)
    result = distributed.measure(plan, [2])
    assert [(fit.ranks, fit.strategy) for fit in result.fits] == [
        (1, ""),
        (1, "2 threads"),
        (2, "ddp"),
        (2, "fsdp"),
    ]
    assert result.fits[0].loss_difference == result.fits[0].weight_difference == 0
    for fit in result.fits:
        assert fit.loss_difference < 1e-4
        assert fit.weight_difference < 1e-2
        assert 0 < fit.most_bytes <= fit.checkpoint_bytes
    for done in result.restarts:
        assert done.restart_seconds > done.epoch_seconds > 0
        assert done.weight_difference < 1e-2
    data = {"threads": 1, **asdict(result)}
    (tmp_path / "distributed.json").write_text(json.dumps(data))
    part = performance.generate(tmp_path)
    assert "| 2 fsdp | " in part
    assert "## Several processes" in part
    assert len(distributed.lines(result)) == 6
