"""Patients per second of SUPPORT2's default model, at batches of 1, 64 and 4096.

    OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive python benchmarks/inference.py [--json] [--rounds 20]

Two ways for each: from encoded patients to probabilities (what ``remind predict`` does with them:
batches are cut, chunk by chunk), and the public path from a cohort in memory, which encodes raw
values too. The claims: one patient in at most 5 ms, and 20,000 patients per second at 4096, both
from encoded patients. Weights are fresh; their values do not change the cost. Rounds end after
``SECONDS``, so that a busy machine makes it imprecise and not endless.
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.speed import arguments, show, side_by_side
from remind.cohort import Encoding
from remind.methods import DEFAULT
from remind.sources import open_cohort
from remind.training import predict_log_probabilities
from remind.training.method import NeuralPredictor

BATCHES = (1, 64, 4096)
SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """Seconds by batch, and patients per second, of both ways."""

    from_encoded: dict[str, float]
    from_cohort: dict[str, float]
    patients_per_second: dict[str, dict[str, float]]


def measure(rounds: int) -> Result:
    """Time both ways of all batches in turn."""
    cohort = open_cohort("support2")
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    config = DEFAULT.model_config
    predictor = NeuralPredictor(DEFAULT.build(encoding, len(cohort.classes), config), encoding)
    model, encoded, work = predictor.model, encoding.transform(cohort), {}
    for size in BATCHES:
        rows = np.arange(size)
        some = cohort.select(rows)
        work[f"from_encoded {size}"] = lambda rows=rows: predict_log_probabilities(
            model, encoded, rows
        )
        work[f"from_cohort {size}"] = lambda some=some: predictor.predict_proba(some)
    seconds = side_by_side(work, rounds, seconds=SECONDS)
    ways = {
        way: {str(size): seconds[f"{way} {size}"] for size in BATCHES}
        for way in ("from_encoded", "from_cohort")
    }
    rates = {
        way: {size: int(size) / value for size, value in by_size.items()}
        for way, by_size in ways.items()
    }
    return Result(**ways, patients_per_second=rates)


def lines(result: Result) -> list[str]:
    """A line per way and batch."""
    return [
        f"{way:12s} batch {size:>4s} {1e3 * getattr(result, way)[size]:9.2f} ms {rate:7.0f} /s"
        for way, by_size in result.patients_per_second.items()
        for size, rate in by_size.items()
    ]


def main() -> None:
    """Print the table, or one JSON object."""
    given = arguments("Speed of prediction.", 20)
    show(measure(given.rounds), given.json, lines)


if __name__ == "__main__":
    main()
