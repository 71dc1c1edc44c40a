"""No part of a diagnosis judges on a split what was fitted on that split."""

from types import SimpleNamespace

import numpy as np
import pytest

from remind.analyses.diagnose import PARTS, diagnose
from remind.analyses.long_tail import long_tail
from remind.analyses.options import Options
from remind.analyses.summary import summary_lines
from tests.analyses.known import Known, masked_at_random, run_of
from tests.report.make import make_diagnosis

JUDGED = ("conformal", "attributable", "acquisition")


@pytest.fixture(scope="module")
def known():
    cohort, logits = masked_at_random(600, np.ones(3), lambda bits_UM: np.ones(len(bits_UM)))
    run = run_of(cohort, Known(logits))
    run.origin, run.settings = SimpleNamespace(name="known"), SimpleNamespace(method="optimum")
    return run, cohort


@pytest.mark.parametrize(
    ("split", "fitted"),
    [
        ("train", ["the run", "the reference model", "the run"]),
        ("val", ["the threshold of prediction sets", "the reference model", "the model of gains"]),
    ],
)
def test_the_other_parts_of_a_diagnosis_are_made_all_the_same(known, split, fitted) -> None:
    parts = ("long_tail", *JUDGED)
    result = diagnose(*known, parts=parts, options=Options(split=split, num_boot=20))
    assert result["absent"] == {
        part: f'{what} is fitted on patients of the split "{split}", so it cannot be judged on '
        "them: diagnose the split test"
        for part, what in zip(JUDGED, fitted, strict=True)
    }
    assert result["long_tail"]["n"] == len(known[1].rows("train"))


def test_the_unseen_share_is_not_held_against_the_patients_it_was_estimated_on(known) -> None:
    unseen = {
        split: long_tail(*known, Options(split=split))["unseen"] for split in ("train", "val")
    }
    assert (unseen["train"]["observed"], unseen["train"]["observed_ci"]) == (None, None)
    assert unseen["val"]["observed_ci"][0] <= unseen["val"]["observed"]
    assert unseen["train"]["expected"] == unseen["val"]["expected"]


def test_the_lines_of_calibration_and_coverage_have_intervals() -> None:
    made = make_diagnosis()
    result = made | {part: None for part in PARTS if part not in ("calibration", "conformal")}
    lines = summary_lines(result)
    block = result["calibration"]["blocks"]["tail"]
    low, high = block["ci"]["ece"]
    line = next(line for line in lines if line.startswith("calibration: "))
    assert f"tail {block['ece']:.3f} [{low:.3f}, {high:.3f}]" in line
    block = result["conformal"]["ways"]["band"]["tail"]
    low, high = block["ci"]
    line = next(line for line in lines if line.startswith("conformal: ") and "by band" in line)
    assert f"tail {block['coverage']:.1%} [{low:.1%}, {high:.1%}]" in line
