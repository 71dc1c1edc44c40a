"""What the command line shows: facts and figures as rich renderables."""

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from remind.evaluation import band_table
from remind.training import Run


def fitted(run: Run) -> RenderableType:
    """The end of a fit: how training went, and what to do next."""
    lines: list[RenderableType] = []
    history = run.history
    if history is not None:
        lines.append(Text(f"best epoch {history.best_epoch} of {len(history.metrics)}"))
        if history.health:
            lines.append(Text(f"group weights: {history.health}"))
    if run.folder is not None:
        lines.append(
            Text(f"the run is in {run.folder.path}; next: remind evaluate {run.folder.path}")
        )
    return Group(*lines)


def evaluation(result: dict[str, Any]) -> RenderableType:
    """One evaluation: the band table, the worst group and what the bands mean."""
    worst = result["worst_group"]
    lines: list[RenderableType] = [
        Text(
            f"{result['method']} on {result['cohort']}, split {result['split']}, n = {result['n']}"
        ),
        band_table({result["method"]: result}),
        Text(bands_in_words(result["bands"])),
    ]
    if worst.get("group") is not None:
        lines.append(
            Text(
                f"worst served group (n = {worst['n']}, log loss {worst['log_loss']:.3f}): "
                f"{worst['group']}"
            )
        )
    return Group(*lines)


def bands_in_words(bands: dict[str, int]) -> str:
    """What head, medium, tail and unseen stand for."""
    head, medium = bands["head"], bands["medium"]
    return (
        f"Bands by the training patients that share a patient's combination of modalities: head > "
        f"{head}, medium {medium}–{head}, tail 1–{medium - 1}, unseen 0. "
        "Brackets: 95% bootstrap intervals over persons."
    )


def description(facts: dict[str, Any]) -> RenderableType:
    """A cohort: modalities, splits, bands, combinations and the long tail."""
    tail = facts["long_tail"]
    classes = ", ".join(f"{c['name']}: {c['share']:.1%}" for c in facts["classes"])
    return Group(
        Text(f"{facts['name']}: {facts['num_patients']} patients, {facts['task']} ({classes})"),
        _modalities(facts["modalities"]),
        Text(
            f"{facts['groups']['num']} combinations, {facts['groups']['num_train']} in training, "
            f"worth {tail['effective_groups']:.1f} equally common ones; Gini {tail['gini']:.2f}"
        ),
        _bands(facts["groups"]["bands"]),
        Text("most frequent combinations in training:"),
        _combinations(facts["groups"]["most_frequent"], facts["modalities"]),
    )


def _modalities(modalities: list[dict[str, Any]]) -> Table:
    table = Table("modality", "kind", "observed", "columns", box=box.SIMPLE_HEAD, pad_edge=False)
    for item in modalities:
        columns = ", ".join(item["columns"])
        table.add_row(item["name"], item["kind"], f"{item['observed']:.1%}", columns)
    return table


def _bands(bands: dict[str, dict[str, Any]]) -> Table:
    table = Table("band", "combinations", "patients", "", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, band in bands.items():
        share = f"{band['share']:.1%}"
        table.add_row(name, str(band["groups"]), str(band["patients"]), share)
    return table


def _combinations(groups: list[dict[str, Any]], modalities: list[dict[str, Any]]) -> Table:
    """Combinations by what they lack, which is shorter than what they have."""
    table = Table("n", "lacking", box=box.SIMPLE_HEAD, pad_edge=False)
    for group in groups:
        has = set(group["group"].split("+"))
        lacking = ", ".join(m["name"] for m in modalities if m["name"] not in has)
        table.add_row(str(group["n_train"]), lacking or "nothing")
    return table
