"""docs/performance.md: its generated part is replaced, what is written by hand stays."""

from pathlib import Path

import pytest

from benchmarks import performance
from remind.errors import InputError


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
