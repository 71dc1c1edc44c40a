"""What a cohort is made of, as one JSON object: modalities, groups, bands, the long tail."""

# N patients, M modalities, G training groups

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from remind.cohort.cohort import Cohort
from remind.cohort.columns import are_words
from remind.cohort.groups import BAND_NAMES, Bands, Groups
from remind.cohort.kinds import KINDS

NUM_LISTED = 10


def describe(cohort: Cohort, bands: Bands | None = None) -> dict[str, Any]:
    """Counts and shares of a labelled cohort; groups and bands count training patients.

    Args:
        cohort: with labels and splits.
        bands: thresholds on training counts.
    """
    train = cohort.rows("train")
    groups = Groups.fit(cohort.present_NM[train], cohort.spec.modality_names, bands)
    return {
        "name": cohort.spec.cohort.name,
        "task": cohort.spec.cohort.task,
        "num_patients": len(cohort),
        "num_persons": len(np.unique(cohort.person)),
        "left_out": list(cohort.left_out),
        "fingerprint": cohort.fingerprint,
        "classes": _classes(cohort, np.arange(len(cohort))),
        "positive": cohort.positive,
        "splits": {name: _split(cohort, name) for name in ("train", "val", "test")},
        "modalities": _modalities(cohort),
        "bands": {"head": groups.bands.head, "medium": groups.bands.medium},
        "groups": _groups(cohort, groups),
        "long_tail": long_tail(groups.counts_G),
    }


def unnamed_positive(cohort: Cohort) -> str | None:
    """Which of two words counts as positive, where nobody has said which; else None.

    Of numbers, and of true and false, it is the one that people expect.
    """
    spec, classes = cohort.spec, cohort.classes
    if cohort.positive is None or spec.cohort.positive is not None or not are_words(classes):
        return None
    other = json.dumps(classes[0], ensure_ascii=False)  # as TOML has it too
    return (
        f"the positive class is {spec.cohort.label} = {cohort.positive}, the last in sorted order: "
        f"if it is {classes[0]}, add positive = {other} to [cohort] of {spec.source}"
    )


def taken_for_granted(cohort: Cohort) -> list[str]:
    """What a fit makes of a cohort without having been told, a sentence each."""
    note = unnamed_positive(cohort)
    return [*([] if note is None else [note]), *invalid_lines(cohort)]


def invalid_lines(cohort: Cohort) -> list[str]:
    """How many values of each modality were invalid and count as missing, and the first of them."""
    return [
        f"{name}: {counted_invalid(len(sentences))} ({sentences[0]})"
        for name, sentences in cohort.invalid.items()
    ]


def counted_invalid(num: int) -> str:
    """``3 invalid values count as missing``."""
    return (
        "1 invalid value counts as missing"
        if num == 1
        else f"{num} invalid values count as missing"
    )


def long_tail(counts_G: np.ndarray) -> dict[str, float]:
    """How unequal group sizes are.

    `gini`: 0 all equal, towards 1 one group holds all. `effective_groups`: exp of the entropy of
    the group shares. `inverse_simpson`: one over the chance that two patients share a group. (Hill
    numbers of order 1 and 2.)
    """
    share_G = np.sort(counts_G) / counts_G.sum()
    num = len(share_G)
    rank_G = np.arange(1, num + 1)
    return {
        "gini": float(((2 * rank_G - num - 1) * share_G).sum() / num),
        "effective_groups": float(np.exp(-(share_G * np.log(share_G)).sum())),
        "inverse_simpson": float(1.0 / (share_G**2).sum()),
    }


def _classes(cohort: Cohort, rows: np.ndarray) -> list[dict[str, Any]]:
    assert cohort.label_N is not None
    counts = np.bincount(cohort.label_N[rows], minlength=len(cohort.classes)).tolist()
    return [
        {"name": name, "n": count, "share": _share(count, len(rows))}
        for name, count in zip(cohort.classes, counts, strict=True)
    ]


def _split(cohort: Cohort, name: str) -> dict[str, Any]:
    rows = cohort.rows(name)
    return {"n": len(rows), "share": len(rows) / len(cohort), "classes": _classes(cohort, rows)}


def _modalities(cohort: Cohort) -> list[dict[str, Any]]:
    observed_M = cohort.present_NM.sum(axis=0).tolist()
    return [
        {
            "name": name,
            "kind": modality.kind,
            "observed": observed / len(cohort),
            "n": observed,
            "columns": list(modality.feature_columns),
            "facts": KINDS[modality.kind].describe(cohort.values[name]),
            "invalid": list(cohort.invalid.get(name, ())),
            "other_ids": None if name not in cohort.others else asdict(cohort.others[name]),
        }
        for (name, modality), observed in zip(
            cohort.spec.modalities.items(), observed_M, strict=True
        )
    ]


def _groups(cohort: Cohort, groups: Groups) -> dict[str, Any]:
    rows_N = cohort.present_NM
    everywhere = Groups.fit(rows_N, groups.modalities, groups.bands)
    listed = _listed(groups, slice(None, NUM_LISTED))
    rarest = _listed(groups, slice(-NUM_LISTED, None))[::-1]
    return {
        "num": len(everywhere),
        "num_train": len(groups),
        "bands": _bands(groups.band(everywhere.patterns_GM), everywhere.counts_G),
        "most_frequent": listed,
        "rarest": rarest,
    }


def _listed(groups: Groups, some: slice) -> list[dict[str, Any]]:
    total = int(groups.counts_G.sum())
    return [
        {"group": name, "n_train": count, "share": count / total}
        for name, count in zip(
            groups.names(groups.patterns_GM[some]), groups.counts_G[some].tolist(), strict=True
        )
    ]


def _bands(band_U: np.ndarray, counts_U: np.ndarray) -> dict[str, dict[str, Any]]:
    total = int(counts_U.sum())
    patients = {name: int(counts_U[band_U == name].sum()) for name in BAND_NAMES}
    return {
        name: {"groups": int((band_U == name).sum()), "patients": num, "share": num / total}
        for name, num in patients.items()
    }


def _share(count: int, total: int) -> float | None:
    return count / total if total else None
