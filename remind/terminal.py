"""What the command line shows: facts and figures as rich renderables."""

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from remind.cohort import counted_invalid
from remind.evaluation.table import FIGURES, ROWS, figure_text, interval_text
from remind.training import Run

RANGE = ("min", "median", "max")
NUM_IN_A_LIST = 5
NUM_INVALID = 10
UNDER_FIGURES = "Under each figure: its 95% bootstrap interval over persons."
SERVED = {"auroc": "AUROC", **FIGURES, "ece": "ECE"}


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


def evaluation(result: dict[str, Any], label: str) -> RenderableType:
    """One evaluation: figures by band over their intervals, the worst group, what bands mean.

    Args:
        result: what `evaluate` returned.
        label: the column of the classes.
    """
    worst, positive = result["worst_group"], result["positive"]
    of_class = "" if positive is None else f"; F1 of {label} = {positive}"
    lines: list[RenderableType] = [
        Text(
            f"{result['method']} on {result['cohort']}, split {result['split']}, n = {result['n']}"
            f"{of_class}"
        ),
        _served(result),
        Text(f"{bands_in_words(result['bands'])} {UNDER_FIGURES}"),
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
        f"{head}, medium {medium}–{head}, tail 1–{medium - 1}, unseen 0."
    )


def _served(result: dict[str, Any]) -> Table:
    """How well everyone and each band is served; the interval of a figure is under it."""
    table = Table("", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("n", justify="right")
    for title in SERVED.values():
        table.add_column(title, justify="center", min_width=9)
    for row in ROWS:
        block = result[row]
        cells = [_figure_over_interval(block, name) for name in SERVED]
        table.add_row(row, str(block["n"]), *cells)
    return table


def _figure_over_interval(block: dict[str, Any], name: str) -> Text:
    """``.864`` over ``.816–.911``."""
    text, interval = Text(figure_text(block[name])), interval_text(block, name)
    return text.append(f"\n{interval}", style="dim") if interval else text


def description(facts: dict[str, Any]) -> RenderableType:
    """A cohort: modalities and what is in them, splits, bands, combinations and the long tail."""
    tail, groups, modalities = facts["long_tail"], facts["groups"], facts["modalities"]
    classes = ", ".join(f"{c['name']}: {c['share']:.1%}" for c in facts["classes"])
    classes += "" if facts["positive"] is None else f"; positive: {facts['positive']}"
    splits = ", ".join(f"{name} {split['n']:,}" for name, split in facts["splits"].items())
    return Group(
        Text(
            f"{facts['name']}: {facts['num_patients']} patients, {facts['num_persons']} persons, "
            f"{facts['task']} ({classes}); {splits}"
        ),
        _modalities(modalities),
        *_invalid(modalities),
        *_left_out(facts["left_out"]),
        Text(
            f"{groups['num']} combinations, {groups['num_train']} in training, "
            f"worth {tail['effective_groups']:.1f} equally common ones; Gini {tail['gini']:.2f}"
        ),
        _bands(groups["bands"]),
        Text("most frequent combinations in training:"),
        _combinations(groups["most_frequent"], modalities),
        Text("rarest combinations in training:"),
        _combinations(groups["rarest"], modalities),
    )


def facts_in_words(facts: dict[str, Any]) -> str:
    """What a kind says of a modality, on a line: ``files 12; per patient 1–3 (median 1)``."""
    if "columns" in facts:
        columns = facts["columns"].items()
        return "; ".join(f"{name} {_column_in_words(column)}" for name, column in columns)
    known = [(name, value) for name, value in facts.items() if value not in (None, {}, [])]
    return "; ".join(f"{name.replace('_', ' ')} {_in_words(value)}" for name, value in known)


def _column_in_words(column: dict[str, Any]) -> str:
    """The range or the categories of a column of a table."""
    share = column["missing"]
    missing = f", {'<1%' if share < 0.01 else f'{share:.0%}'} missing" if share else ""
    if column["type"] == "numeric":
        return _in_words({key: column[key] for key in RANGE}) + missing
    names = list(column["frequent"])
    more = column["num_categories"] - len(names)
    return ", ".join([*names, *([f"{more} more"] if more > 0 else [])]) + missing


def _in_words(value: Any) -> str:
    """A value of JSON: a range, counts by name, names with values of their own, a size."""
    if isinstance(value, dict) and set(value) == set(RANGE):
        return _range_in_words(value)
    if isinstance(value, dict) and set(value) == {"min", "max"}:
        return f"{_in_words(value['min'])}–{_in_words(value['max'])}"
    if isinstance(value, dict) and any(isinstance(part, float) for part in value.values()):
        return _listed([f"{k.replace('_', ' ')} {_in_words(v)}" for k, v in value.items()])
    if isinstance(value, dict):
        is_counts = len(value) > 1 and all(type(part) is int for part in value.values())
        return _listed([f"{k} ({v:,})" if is_counts else str(k) for k, v in value.items()])
    if isinstance(value, list):
        numbers = all(isinstance(part, int) for part in value)
        return " x ".join(map(str, value)) if numbers else _listed([_in_words(v) for v in value])
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _range_in_words(value: dict[str, float | None]) -> str:
    low, middle, high = (value[key] for key in RANGE)
    if low is None or low == high:
        return "none" if low is None else _in_words(low)
    return f"{_in_words(low)}–{_in_words(high)} (median {_in_words(middle)})"


def _listed(parts: list[str]) -> str:
    more = [f"{len(parts) - NUM_IN_A_LIST} more"] if len(parts) > NUM_IN_A_LIST else []
    return ", ".join([*parts[:NUM_IN_A_LIST], *more])


def _modalities(modalities: list[dict[str, Any]]) -> Table:
    table = Table(
        "modality", "kind", "observed", "what is there", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for item in modalities:
        words = facts_in_words(item["facts"])
        if others := item["other_ids"]:
            words += f"; rows of other ids {others['rows']:,} of {others['of']:,}"
            words += f" (such as {others['example']})"
        table.add_row(Text(item["name"]), item["kind"], f"{item['observed']:.1%}", Text(words))
    return table


def _invalid(modalities: list[dict[str, Any]]) -> list[Text]:
    """How many values were invalid and count as missing, and what was wrong with them."""
    lines = []
    for item in modalities:
        if sentences := item["invalid"]:
            lines.append(Text(f"{item['name']}: {counted_invalid(len(sentences))}:"))
            lines += [Text(f"  {sentence}") for sentence in sentences[:NUM_INVALID]]
            if len(sentences) > NUM_INVALID:
                lines.append(Text(f"  and {len(sentences) - NUM_INVALID} more (--json has all)"))
    return lines


def _left_out(ids: list[str]) -> list[Text]:
    """Who is not in the cohort, for all that they have is invalid."""
    if not ids:
        return []
    who = "1 patient is" if len(ids) == 1 else f"{len(ids)} patients are"
    more = f" and {len(ids) - NUM_INVALID} more" if len(ids) > NUM_INVALID else ""
    shown = ", ".join(ids[:NUM_INVALID]) + more
    return [Text(f"{who} left out, for all that they have is invalid (id {shown})")]


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
        table.add_row(str(group["n_train"]), Text(lacking or "nothing"))
    return table
