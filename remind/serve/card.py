"""What a service says of its model: whom it was fitted on, what it reads, how it was measured."""

# G training combinations, M modalities

import importlib.metadata
from collections.abc import Mapping
from typing import Any

from remind.cohort import BAND_NAMES
from remind.evaluation.predictions import positive_of
from remind.serve.depth import measured
from remind.training import Run


def model_card(run: Run, evaluation: Mapping[str, Any] | None, *, has_sets: bool) -> dict[str, Any]:
    """JSON that describes a run to those who send it patients."""
    encoding, spec = run.encoding, run.spec
    groups = encoding.groups
    observed_M = groups.counts_G @ groups.patterns_GM
    num_trained = int(groups.counts_G.sum())
    return {
        "cohort": spec.cohort.name,
        "label": spec.cohort.label,
        "classes": list(encoding.classes),
        "positive": positive_of(encoding.classes),
        "method": run.settings.method,
        "version": importlib.metadata.version("remind-med"),
        "fingerprint": run.origin.fingerprint,
        "num_trained": num_trained,
        "num_combinations": len(groups),
        "bands": {"head": groups.bands.head, "medium": groups.bands.medium},
        "prediction_sets": has_sets,
        "modalities": [
            {
                "name": name,
                "kind": modality.kind,
                "observed": float(num / num_trained),
                "has_times": getattr(modality, "time", None) is not None,
                "has_versions": getattr(modality, "version", None) is not None,
                **_facts(name, modality, encoding.schemas),
            }
            for (name, modality), num in zip(
                spec.modalities.items(), observed_M.tolist(), strict=True
            )
        ],
        "measured": [
            figures
            for band in ("overall", *BAND_NAMES)
            if (figures := measured(evaluation, band)) is not None
        ],
    }


def _facts(name: str, spec: Any, schemas: Mapping[str, Any]) -> dict[str, Any]:
    return FACTS[spec.kind](name, spec, schemas) if spec.kind in FACTS else {}


def _tabular(name: str, spec: Any, schemas: Mapping[str, Any]) -> dict[str, Any]:
    known = {column.name: column for column in schemas["tabular"].columns}
    return {"columns": [_column(known[column]) for column in spec.columns]}


def _column(column: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": column.name, "kind": column.kind}
    if column.kind == "categorical":
        return facts | {"categories": list(column.categories)}
    low, high = (column.knots[0], column.knots[-1]) if column.knots else (None, None)
    return facts | {"low": low, "high": high}


def _vector(name: str, spec: Any, schemas: Mapping[str, Any]) -> dict[str, Any]:
    return {"length": next(v.dim for v in schemas["vector"].modalities if v.name == name)}


def _series(name: str, spec: Any, schemas: Mapping[str, Any]) -> dict[str, Any]:
    item = next(item for item in schemas["series"].modalities if item.name == name)
    return {"variables": [variable.name for variable in item.variables]}


FACTS = {"tabular": _tabular, "vector": _vector, "series": _series}
"""Kind -> what more there is to say of a modality."""
