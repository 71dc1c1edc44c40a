"""Verdicts from evidence: what was measured of a band decides whether it is a reason for doubt."""

from typing import Any

import numpy as np
import pytest

from remind.cohort import Groups
from remind.serve.depth import judge, measured, unseen_reason


def block(n: int, auroc: float | None, ci: tuple[float, float] | None) -> dict[str, Any]:
    cis = {"auroc": ci, "accuracy": (0.7, 0.9), "log_loss": (0.3, 0.5)}
    return {"n": n, "auroc": auroc, "accuracy": 0.8, "log_loss": 0.4, "ci": cis}


def evaluation(tail: dict[str, Any]) -> dict[str, Any]:
    return {
        "split": "test",
        "overall": block(500, 0.85, (0.82, 0.88)),
        "tail": tail,
        "head": block(400, 0.86, (0.8, 0.9)),
        "unseen": block(0, None, None),
    }


def verdict(tail: dict[str, Any] | None, **changes: Any) -> tuple[str, list[str]]:
    figures = None if tail is None else measured(evaluation(tail), "tail")
    options: dict[str, Any] = {"outside": [], "unseen": "", "held": ["1"], "level": 0.9}
    row = {"n_train": 3, "band": "tail"}
    return judge(row, figures=figures, **(options | changes))


def test_a_rare_combination_that_was_served_like_all_is_no_reason_for_doubt() -> None:
    assert verdict(block(90, 0.84, (0.78, 0.89))) == ("sure", [])


def test_one_that_was_served_worse_is() -> None:
    said, (reason,) = verdict(block(90, 0.72, (0.63, 0.81)))
    assert said == "unsure"
    assert reason == (
        "test patients of the band tail were served worse: "
        "AUROC 0.720 (0.630 to 0.810), over all 0.850"
    )


def test_worse_log_loss_is_higher() -> None:
    tail = block(90, 0.85, (0.8, 0.9))
    tail["ci"]["log_loss"] = (0.41, 0.6)
    said, (reason,) = verdict(tail)
    assert said == "unsure"
    assert "log loss 0.400 (0.410 to 0.600), over all 0.400" in reason
    tail["ci"]["log_loss"] = (0.2, 0.39)
    assert verdict(tail) == ("sure", [])


def test_a_rare_combination_that_nobody_measured_is_a_reason_for_doubt() -> None:
    said, (reason,) = verdict(None)
    assert said == "unsure"
    assert reason.startswith("3 patients of training had this combination")
    assert measured(evaluation(block(0, None, None)), "tail") is None


def test_few_patients_without_intervals_decide_nothing() -> None:
    assert verdict(block(4, 0.3, None)) == ("sure", [])


@pytest.mark.parametrize(
    ("held", "words"), [([], "is empty: no class is probable enough"), (["0", "1"], "0 and 1")]
)
def test_a_set_of_none_or_of_several_classes_is_a_reason_for_doubt(
    held: list[str], words: str
) -> None:
    said, (reason,) = verdict(block(90, 0.84, (0.78, 0.89)), held=held)
    assert said == "unsure"
    assert reason.startswith("the 90% prediction set ")
    assert words in reason


def test_what_training_never_saw_outweighs_all_else() -> None:
    said, reasons = verdict(block(90, 0.72, (0.63, 0.81)), outside=["x is beyond the range"])
    assert said == "out_of_depth"
    assert len(reasons) == 2


def test_the_nearest_combination_is_named_by_what_differs() -> None:
    rows = [[1, 1, 0, 0]] * 5 + [[1, 1, 1, 0]] * 2 + [[1, 1, 1, 1]]
    groups = Groups.fit(np.array(rows, dtype=bool), ("a", "b", "c", "d"))
    start = "no training patient was observed in exactly these modalities; the nearest combination "
    assert unseen_reason(groups, np.array([1, 0, 0, 0], bool)) == start + "(5 patients) has b too"
    assert unseen_reason(groups, np.array([1, 1, 0, 1], bool)) == start + "(1 patient) has c too"
    assert unseen_reason(groups, np.array([0, 1, 1, 0], bool)) == start + "(2 patients) has a too"
    two = Groups.fit(np.array([[1, 1, 0]], dtype=bool), ("a", "b", "c"))
    assert (
        unseen_reason(two, np.array([0, 1, 1], bool)) == start + "(1 patient) has a too and lacks c"
    )
