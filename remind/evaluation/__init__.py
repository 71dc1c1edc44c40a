"""Predictions in, figures out: metrics by band and group with intervals. Knows of no model."""

from remind.evaluation.bootstrap import intervals
from remind.evaluation.compare import compare
from remind.evaluation.evaluate import evaluate
from remind.evaluation.metrics import METRICS, measure
from remind.evaluation.picture import band_plot
from remind.evaluation.predictions import (
    check_predictions,
    classes_of,
    read_predictions,
    write_predictions,
)
from remind.evaluation.table import band_table, markdown

__all__ = [
    "METRICS",
    "band_plot",
    "band_table",
    "check_predictions",
    "classes_of",
    "compare",
    "evaluate",
    "intervals",
    "markdown",
    "measure",
    "read_predictions",
    "write_predictions",
]
