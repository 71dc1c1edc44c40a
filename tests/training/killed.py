"""Runs that are killed with SIGKILL; called as `killed.py CASE...`, a case being FOLDER:POINT:N.

POINT is "step" (dies in the N-th training step) or "rename" (dies before the N-th file of the run
gets its final name). Each run is a process of its own, forked after the imports.
"""

import os
import signal
import sys
from pathlib import Path

from remind.cohort import Cohort
from remind.training import files, fit_run, steps
from tests.training.toy import toy_cohort, toy_method


def die_at(module: object, name: str, call: int) -> None:
    """Replace a function by one whose N-th call is the process's last."""
    function, calls = getattr(module, name), 0

    def deadly(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    setattr(module, name, deadly)


def run(cohort: Cohort, folder: str, point: str, call: int) -> None:
    """Fit until death."""
    if point == "step":
        die_at(steps, "patient_losses", call)
    else:
        die_at(files.os, "replace", call)
    fit_run(cohort, toy_method(), out=Path(folder))


if __name__ == "__main__":
    shared = toy_cohort()
    for case in sys.argv[1:]:
        where, what, number = case.rsplit(":", 2)
        child = os.fork()
        if child == 0:
            run(shared, where, what, int(number))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
