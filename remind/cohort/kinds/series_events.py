"""The raw values of a series: its events, patient by patient."""

# N patients, V events, U variables

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from remind.cohort.columns import text_hash
from remind.cohort.kinds.events import grouped, length_facts, owners, time_facts
from remind.cohort.kinds.ragged import Ragged

NUM_FREQUENT = 5
DIGEST_EVENTS = 1 << 20  # at once


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesEvents:
    """Events of N patients.

    Args:
        variables: U names in alphabetical order.
        categories: of each variable in alphabetical order; None for a numeric one.
        events: ``time`` (hours, float32), ``variable`` (int32) and ``value`` (float32, the number
            or the place of the category), by patient, variable, time and value.
        num_empty_N: rows without a value, int32.
        num_outside_N: events outside of the hours that were asked for, int32.
    """

    variables: tuple[str, ...]
    categories: tuple[tuple[str, ...] | None, ...]
    events: Ragged
    num_empty_N: np.ndarray
    num_outside_N: np.ndarray

    @classmethod
    def none(cls, num_patients: int) -> Self:
        """No event of any patient."""
        columns = {
            "time": np.empty(0, np.float32),
            "variable": np.empty(0, np.int32),
            "value": np.empty(0, np.float32),
        }
        return cls(
            variables=(),
            categories=(),
            events=Ragged(start_N1=np.zeros(num_patients + 1, np.int64), columns=columns),
            num_empty_N=np.zeros(num_patients, np.int32),
            num_outside_N=np.zeros(num_patients, np.int32),
        )

    def select(self, rows: np.ndarray) -> "SeriesEvents":
        """The events of some patients, in the order given."""
        return replace(
            self,
            events=self.events.select(rows),
            num_empty_N=self.num_empty_N[rows],
            num_outside_N=self.num_outside_N[rows],
        )

    def digest(self) -> Iterator[bytes]:
        """Bytes that change with any value."""
        yield self.events.start_N1.tobytes()
        names_U = text_hash(np.array([*self.variables, ""], dtype=object))
        texts = [text for group in self.categories if group for text in group]
        text_hashes = text_hash(np.array([*texts, ""], dtype=object))
        sizes_U = [len(group) if group else 0 for group in self.categories]
        first_U = np.cumsum([0, *sizes_U])[:-1]
        is_category_U = np.array([group is not None for group in self.categories], bool)
        columns = self.events.columns
        for start in range(0, len(columns["time"]), DIGEST_EVENTS):
            part = slice(start, start + DIGEST_EVENTS)
            variable_V, value_V = columns["variable"][part], columns["value"][part] + np.float32(0)
            yield (columns["time"][part] + np.float32(0)).tobytes()
            yield names_U[variable_V].tobytes()
            is_category_V = is_category_U[variable_V]
            place_V = first_U[variable_V[is_category_V]] + value_V[is_category_V].astype(np.int64)
            yield np.where(is_category_V, 0, value_V).tobytes()
            yield text_hashes[place_V].tobytes()

    def describe(self) -> dict[str, Any]:
        """Counts, lengths, times, and what each variable holds."""
        num_observed = int((self.events.counts_N > 0).sum())
        owner_V = owners(self.events)
        variables = {}
        for u, places in grouped(self.events.columns["variable"]):
            num_patients = 1 + int(np.count_nonzero(np.diff(owner_V[places])))
            variables[self.variables[u]] = {
                "observed": num_patients / num_observed,
                "num_events": len(places),
                **_facts(self.categories[u], self.events.columns["value"][places]),
            }
        return {
            "num_events": int(self.events.start_N1[-1]),
            "events_per_patient": length_facts(self.events),
            "time": time_facts(self.events.columns["time"]),
            "rows_without_value": int(self.num_empty_N.sum()),
            "events_outside_hours": int(self.num_outside_N.sum()),
            "num_variables": len(variables),
            "variables": variables,
        }


def _facts(categories: tuple[str, ...] | None, value_V: np.ndarray) -> dict[str, Any]:
    """Range of numbers, or the most frequent categories."""
    if categories is None:
        low, middle, high = (float(f(value_V)) for f in (np.min, np.median, np.max))
        return {"type": "numeric", "min": low, "median": middle, "max": high}
    counts = np.bincount(value_V.astype(np.int64), minlength=len(categories))
    frequent = np.argsort(-counts, kind="stable")[:NUM_FREQUENT]
    return {
        "type": "categorical",
        "num_categories": int(np.count_nonzero(counts)),
        "frequent": {categories[c]: int(counts[c]) for c in frequent if counts[c]},
    }
