"""The raw values of codes: what each patient has, and when."""

# N patients, V codes, C distinct codes

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from remind.cohort.columns import text_hash
from remind.cohort.kinds.events import length_facts, owners, time_facts
from remind.cohort.kinds.hierarchy import System
from remind.cohort.kinds.ragged import Ragged

NUM_FREQUENT = 10
DIGEST_EVENTS = 1 << 20  # at once


@dataclass(frozen=True, kw_only=True, eq=False)
class CodeEvents:
    """Codes of N patients.

    Args:
        codes: in normal form, in order.
        system: that they are of.
        min_count: patients who must have a code for it to have an embedding of its own.
        events: ``code`` (int32, place in `codes`) and, if they have one, ``time`` (float32), by
            patient, code and time.
        num_outside_N: codes outside of the hours that were asked for, int32.
    """

    codes: tuple[str, ...]
    system: System
    min_count: int
    events: Ragged
    num_outside_N: np.ndarray

    @classmethod
    def none(cls, num_patients: int, system: System, min_count: int, *, is_timed: bool) -> Self:
        """No code of any patient."""
        events: dict[str, np.ndarray] = {"code": np.empty(0, np.int32)}
        if is_timed:
            events["time"] = np.empty(0, np.float32)
        return cls(
            codes=(),
            system=system,
            min_count=min_count,
            events=Ragged(start_N1=np.zeros(num_patients + 1, np.int64), columns=events),
            num_outside_N=np.zeros(num_patients, np.int32),
        )

    def select(self, rows: np.ndarray) -> "CodeEvents":
        """The codes of some patients, in the order given."""
        return replace(
            self, events=self.events.select(rows), num_outside_N=self.num_outside_N[rows]
        )

    def digest(self) -> Iterator[bytes]:
        """Bytes that change with any code."""
        yield self.events.start_N1.tobytes()
        hashes = text_hash(np.array([*self.codes, ""], dtype=object))
        columns = self.events.columns
        for start in range(0, len(columns["code"]), DIGEST_EVENTS):
            part = slice(start, start + DIGEST_EVENTS)
            yield hashes[columns["code"][part]].tobytes()
            if "time" in columns:
                yield (columns["time"][part] + np.float32(0)).tobytes()

    def describe(self) -> dict[str, Any]:
        """Counts, lengths, times and the codes that most patients have."""
        code_V = self.events.columns["code"]
        is_new_V = np.diff(code_V, prepend=-1) != 0
        is_new_V[1:] |= np.diff(owners(self.events)) != 0
        patients_C = np.bincount(code_V[is_new_V], minlength=len(self.codes))
        frequent = np.argsort(-patients_C, kind="stable")[:NUM_FREQUENT]
        facts: dict[str, Any] = {
            "num_codes": len(code_V),
            "num_distinct": int(np.count_nonzero(patients_C)),
            "codes_per_patient": length_facts(self.events),
            "frequent": {self.codes[c]: int(patients_C[c]) for c in frequent if patients_C[c]},
            "codes_outside_hours": int(self.num_outside_N.sum()),
        }
        if "time" in self.events.columns:
            facts["time"] = time_facts(self.events.columns["time"])
        return facts
