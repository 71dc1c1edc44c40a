"""What the evaluation says in words; true of any outcome, for nothing is said without interval."""

from typing import Any

from remind.report.blocks import Finding
from remind.report.runs import ReportedRun
from remind.report.words import (
    Bounds,
    joined,
    patients,
    percent,
    short_group,
    side_of_zero,
    signed_with_interval,
    with_interval,
)

SHOWN = {"auroc": "AUROC", "log_loss": "log loss"}
IS_BETTER = {"auroc": 1, "log_loss": -1}
"""Whether more of a metric is better (1) or less (-1)."""
CANNOT_COMPARE = "Whether rare combinations are served worse cannot be said."

Differences = dict[str, dict[str, Any]]
"""Label of another run -> what `compare` returned, for the first run minus that one."""


def of_run(run: ReportedRun) -> list[Finding]:
    """How everyone, rare combinations and the worst served one fare."""
    evaluation = run.evaluation
    overall = evaluation["overall"]
    auroc, log_loss = (with_interval(overall[m], (overall["ci"] or {}).get(m)) for m in SHOWN)
    who = f"{patients(evaluation['n'])} of {evaluation['cohort']}"
    return [
        Finding(
            f"{run.label} reaches an AUROC of {auroc} on {who}.",
            f"Its log loss is {log_loss}. Brackets hold {run.level} intervals.",
        ),
        _rare_in_words(run),
        *_worst_in_words(run),
    ]


def _rare_in_words(run: ReportedRun) -> Finding:
    """Tail against head, as far as their intervals tell them apart."""
    evaluation = run.evaluation
    head, tail = evaluation["head"], evaluation["tail"]
    rare = sum(evaluation[band]["n"] for band in ("tail", "unseen"))
    start = (
        f"{patients(rare)} ({percent(rare / evaluation['n'])}) "
        f"{'has' if rare == 1 else 'have'} a rare or new combination of modalities"
    )
    if not tail["n"] or not head["n"]:
        absent = joined([band for band in ("head", "tail") if not evaluation[band]["n"]])
        return Finding(CANNOT_COMPARE, f"{start}, and nobody is in the {absent}.")
    if tail["auroc"] is None or head["auroc"] is None:
        return Finding(CANNOT_COMPARE, f"{start}; AUROC is undefined where all outcomes are alike.")
    cis = [(block["ci"] or {}).get("auroc") for block in (tail, head)]
    told = [with_interval(block["auroc"], ci) for block, ci in zip((tail, head), cis, strict=True)]
    return Finding(
        _verdict(*cis), f"{start}. AUROC is {told[0]} in the tail and {told[1]} in the head."
    )


def _verdict(tail: Bounds, head: Bounds) -> str:
    if not tail or not head:
        return CANNOT_COMPARE
    if tail[1] < head[0]:
        return "Rare combinations are served worse than common ones."
    if tail[0] > head[1]:
        return "Rare combinations are served better than common ones."
    return "No clear difference between rare and common combinations."


def _worst_in_words(run: ReportedRun) -> list[Finding]:
    worst, overall = run.evaluation["worst_group"], run.evaluation["overall"]
    if worst.get("group") is None:
        return []
    who = short_group(worst["group"], run.modalities, 70)
    losses = [
        with_interval(block["log_loss"], (block["ci"] or {}).get("log_loss"))
        for block in (worst, overall)
    ]
    return [
        Finding(
            f"Worst served are the {patients(worst['n'])} with the combination “{who}”.",
            f"Log loss is {losses[0]} against {losses[1]} for everyone. The worst of many "
            "combinations is partly chance.",
        )
    ]


def against(first: ReportedRun, differences: Differences) -> list[Finding]:
    """What is shown of the difference to each other run, for everyone and the tail."""
    findings = []
    for label, found in differences.items():
        blocks = found["blocks"]
        told = [
            f"{_difference_in_words(blocks[row], metric)} {where}"
            for row, where in (("overall", "for everyone"), ("tail", "in the tail"))
            for metric in SHOWN
            if row in blocks and blocks[row][metric]["difference"] is not None
        ]
        verdict = joined([f"{name} {_side(blocks['overall'], m)}" for m, name in SHOWN.items()])
        findings.append(
            Finding(
                f"{first.label} against {label}: {verdict}.",
                f"Differences on the same patients: {joined(told)}.",
            )
        )
    return findings


def _side(block: dict[str, Any], metric: str) -> str:
    side = side_of_zero(block[metric]["ci"]) * IS_BETTER[metric]
    return {1: "better", -1: "worse", 0: "without clear difference"}[side]


def _difference_in_words(block: dict[str, Any], metric: str) -> str:
    found = block[metric]
    return f"{SHOWN[metric]} {signed_with_interval(found['difference'], found['ci'])}"
