"""Calibration and conformal coverage of a run, by band."""

from typing import Any

from remind.analyses.options import Options
from remind.cohort import Cohort
from remind.evaluation.calibration import calibration as calibration_of
from remind.evaluation.conformal import conformal as conformal_of
from remind.training import Run


def calibration(run: Run, cohort: Cohort, options: Options) -> dict[str, Any]:
    """Reliability of the run's probabilities by band; see `remind.evaluation.calibration`.

    Of the split train it says how the run fits the patients it was fitted on, and not how it
    serves new ones.
    """
    figures = calibration_of(
        run.predictions(options.split, cohort),
        num_boot=options.num_boot,
        seed=options.seed,
        level=options.level,
    )
    return {"split": options.split, **figures}


def conformal(run: Run, cohort: Cohort, options: Options) -> dict[str, Any]:
    """Coverage of the run's prediction sets by band; see `remind.evaluation.conformal`.

    Raises:
        InputError: the split is that of training, which the run is fitted on, or of validation,
            which the sets are calibrated on.
    """
    options.check_not_fitted_on(("train",), "the run")
    options.check_not_fitted_on(("val",), "the threshold of prediction sets")
    figures = conformal_of(
        run.predictions("val", cohort),
        run.predictions(options.split, cohort),
        alpha=options.alpha,
        num_boot=options.num_boot,
        seed=options.seed,
        level=options.level,
    )
    return {"split": options.split, **figures}
