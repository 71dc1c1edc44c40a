"""Which codes and ancestors of codes have an embedding, and which of these a code is the sum of."""

# V codes of patients, C distinct codes, L levels, K codes and ancestors, W parts of codes

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from remind.cohort.kinds.codes_events import CodeEvents
from remind.cohort.kinds.event_scales import CountScale, TimeScale
from remind.cohort.kinds.events import owners
from remind.cohort.kinds.hierarchy import System, path
from remind.cohort.kinds.ragged import Ragged


@dataclass(frozen=True, kw_only=True)
class CodesModality:
    """One modality of codes.

    Args:
        name: of the modality.
        index: into the cohort's modalities.
        system: of the codes.
        num_tokens: per patient.
        vocabulary: codes and ancestors that enough training patients have, the most frequent first.
        time: quantiles of training codes' times, if they have times.
        count: of training patients' codes.
        mean_K: how often each row of the table of codes occurs in a training patient with codes.
    """

    name: str
    index: int
    system: System
    num_tokens: int
    vocabulary: tuple[str, ...]
    mean_K: tuple[float, ...]
    time: TimeScale | None
    count: CountScale

    @classmethod
    def fit(
        cls,
        raw: CodeEvents,
        *,
        name: str,
        index: int,
        num_tokens: int,
        min_count: int,
        max_bins: int,
    ) -> Self:
        """Of the codes of training patients."""
        names, num_patients = patients_of(raw)
        order = np.lexsort((names, -num_patients))
        frequent = order[num_patients[order] >= min_count]
        is_timed = "time" in raw.events.columns
        item = cls(
            name=name,
            index=index,
            system=raw.system,
            num_tokens=num_tokens,
            vocabulary=tuple(names[frequent].tolist()),
            mean_K=(),
            time=TimeScale.fit(raw.events, max_bins) if is_timed else None,
            count=CountScale.fit(raw.events),
        )
        return replace(item, mean_K=tuple(item._means(raw).tolist()))

    @property
    def num_rows(self) -> int:
        """Rows of the table of codes: the vocabulary, and one for an unknown code."""
        return len(self.vocabulary) + 1

    @cached_property
    def _place(self) -> pd.Index:
        return pd.Index(self.vocabulary, dtype=object)

    def parts(self, raw: CodeEvents) -> Ragged:
        """The rows (int32) of the table of codes whose sum each distinct code is.

        They are those of the code and of all its ancestors in the vocabulary, or that of an unknown
        code if there is none.
        """
        row_LC = np.array(
            [self._place.get_indexer(level_C) for level_C in _levels(raw)], dtype=np.int32
        )
        is_unknown_C = (row_LC < 0).all(axis=0)
        row_LC[0, is_unknown_C] = len(self.vocabulary)
        is_part_CL = row_LC.T >= 0
        start_C1 = np.concatenate([[0], np.cumsum(is_part_CL.sum(axis=1))]).astype(np.int64)
        return Ragged(start_N1=start_C1, columns={"row": row_LC.T[is_part_CL]})

    def _means(self, raw: CodeEvents) -> np.ndarray:
        """How often each row of the table occurs in a patient with codes, on average (K,)."""
        parts = self.parts(raw)
        num_C = np.bincount(raw.events.columns["code"], minlength=len(raw.codes))
        num_W = np.repeat(num_C, parts.counts_N)
        num_K = np.bincount(parts.columns["row"], weights=num_W, minlength=self.num_rows)
        return num_K / max(int((raw.events.counts_N > 0).sum()), 1)

    def dump(self) -> dict[str, Any]:
        """JSON."""
        return asdict(self)

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Self:
        """Back from JSON."""
        time = data["time"]
        parts = {
            "vocabulary": tuple(data["vocabulary"]),
            "mean_K": tuple(data["mean_K"]),
            "time": time and TimeScale(**{key: tuple(knots) for key, knots in time.items()}),
            "count": CountScale(**data["count"]),
        }
        return cls(**{**data, **parts})


@dataclass(frozen=True, kw_only=True)
class CodesSchema:
    """All modalities of codes of a cohort, in order."""

    modalities: tuple[CodesModality, ...]


def patients_of(raw: CodeEvents) -> tuple[np.ndarray, np.ndarray]:
    """Codes and ancestors (K,), and how many patients have each, it or what is below it."""
    levels = _levels(raw)
    names, node_LC = np.unique(np.concatenate([*levels, [""]]).astype(str), return_inverse=True)
    node_LC = np.where(names[node_LC] == "", -1, node_LC)[:-1].reshape(len(levels), -1)
    code_V, owner_V = raw.events.columns["code"], owners(raw.events)
    num_K = np.zeros(len(names), np.int64)
    for node_C in node_LC:
        # Codes are in the order of their texts: what is below one ancestor follows each other.
        node_V = node_C[code_V]
        is_node_V = node_V >= 0
        node, owner = node_V[is_node_V], owner_V[is_node_V]
        is_new = np.diff(node, prepend=-1) != 0
        is_new[1:] |= np.diff(owner) != 0
        num_K += np.bincount(node[is_new], minlength=len(names))
    is_name = names != ""
    return names[is_name], num_K[is_name]


def _levels(raw: CodeEvents) -> list[np.ndarray]:
    """The path of each distinct code, level by level (L arrays of C texts)."""
    paths = [path(code, raw.system) for code in raw.codes]
    num_levels = len(path("", raw.system))
    return [np.array([item[level] for item in paths], dtype=object) for level in range(num_levels)]


def coverage(raw: CodeEvents, min_count: int) -> dict[str, Any]:
    """What a vocabulary of all these patients would know of their codes."""
    names, num_patients = patients_of(raw)
    known = set(names[num_patients >= min_count].tolist())
    code_V = raw.events.columns["code"]
    num_C = np.bincount(code_V, minlength=len(raw.codes))
    is_own_C = np.array([code in known for code in _own(raw)], bool)
    is_shared_C = np.array(
        [any(level in known for level in path(code, raw.system)) for code in raw.codes], bool
    )
    total = max(len(code_V), 1)
    return {
        "size": len(known),
        "own_embedding": int(num_C[is_own_C].sum()) / total,
        "only_ancestors": int(num_C[is_shared_C & ~is_own_C].sum()) / total,
        "unknown": int(num_C[~is_shared_C].sum()) / total,
    }


def _own(raw: CodeEvents) -> list[str]:
    """The text of each distinct code on its own level."""
    return [[level for level in path(code, raw.system) if level][-1] for code in raw.codes]
