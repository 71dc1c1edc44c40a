"""diagnose: every analysis of a run as one JSON object, and what it says in words."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from remind.analyses.acquisition import acquisition
from remind.analyses.attributable import attributable_gap
from remind.analyses.concept_shift_of_run import concept_shift_of_run
from remind.analyses.coverage import calibration, conformal
from remind.analyses.gradients_of_run import gradients
from remind.analyses.long_tail import long_tail
from remind.analyses.options import Options
from remind.analyses.routing_of_run import routing
from remind.analyses.summary import summary_lines
from remind.analyses.weights import group_weights
from remind.cohort import Cohort
from remind.errors import InputError, did_you_mean
from remind.training import Run

Part = Callable[[Run, Cohort, Options], dict[str, Any]]

PARTS: dict[str, Part] = {
    "long_tail": long_tail,
    "gradients": gradients,
    "concept_shift": concept_shift_of_run,
    "routing": routing,
    "group_weights": group_weights,
    "attributable": attributable_gap,
    "calibration": calibration,
    "conformal": conformal,
    "acquisition": acquisition,
}
"""Run, cohort and options to JSON; a part that does not apply raises InputError, which says why."""


def diagnose(
    run: Run,
    cohort: Cohort,
    *,
    parts: Sequence[str] | None = None,
    options: Options | None = None,
    on_part: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Run the analyses.

    Args:
        run: any method's.
        cohort: that it was fitted on, labelled.
        parts: keys of `PARTS`; all of them if None.
        options: of all parts.
        on_part: is told the name of each part before it starts.

    Returns:
        JSON: ``cohort``, ``split``, ``method``, ``n`` (patients of the split), ``seconds`` by part,
        every part of `PARTS` (None where it does not apply or was not asked for), and ``absent``:
        a sentence for each part that does not apply.

    Raises:
        InputError: a part is not known, or nobody is in the split.
    """
    options = options or Options()
    chosen = list(PARTS) if parts is None else list(parts)
    for name in chosen:
        if name not in PARTS:
            near = did_you_mean(name, PARTS) or f" (there are {', '.join(PARTS)})"
            raise InputError(f'no part "{name}" of a diagnosis{near}')
    num = len(cohort.rows(options.split))
    if not num:
        raise InputError(f'no patient is in the split "{options.split}": choose another one')
    results: dict[str, Any] = dict.fromkeys(PARTS)
    absent: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for name in chosen:
        if on_part is not None:
            on_part(name)
        start = time.perf_counter()
        try:
            results[name] = PARTS[name](run, cohort, options)
        except InputError as error:
            absent[name] = str(error)
        seconds[name] = round(time.perf_counter() - start, 2)
    return {
        "cohort": run.origin.name,
        "split": options.split,
        "method": run.settings.method,
        "n": num,
        **results,
        "absent": absent,
        "seconds": seconds,
    }


def diagnosis_lines(result: dict[str, Any]) -> list[str]:
    """What a diagnosis says, in at most 25 plain lines for the terminal."""
    return summary_lines(result)
