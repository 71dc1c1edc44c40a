"""The report of a benchmark as Markdown, CSV and LaTeX. What is undefined is "–", or empty."""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from remind.benchmark.statistics import ALL, HIDDEN, UNSEEN, WITHOUT, is_better, title

UNDEFINED = "–"
COST_TITLES = {
    "parameters": "parameters",
    "seconds": "training, s",
    "microseconds": "inference, µs per patient",
    "memory_mb": "peak memory, MB",
    "trials": "trials",
    "search_seconds": "search, s",
}
BLOCK_TITLES = {
    ALL: "All patients",
    UNSEEN: "Combinations that training did not have",
    HIDDEN: "Patients from whom one modality is hidden",
}
OF_POSITIVE = ("auprc", "f1")
TEX = {
    **{sign: f"\\{sign}" for sign in "&_%#${}"},
    **{"<": "$<$", ">": "$>$", "≥": r"$\geq$"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
}
"""What a sign is in LaTeX."""
COST_DECIMALS = {"seconds": 1, "search_seconds": 0}


def markdown(result: Mapping[str, Any]) -> str:
    """results.md: a table per block, ranks and cost."""
    cohort = result["cohort"]
    parts = [f"# {cohort['name']}, {result['split']}\n", setup(result)]
    for block, values in result["blocks"].items():
        parts.append(f"## {block_title(block)} (n = {values['n']:,})\n")
        parts.append(block_table(result, values["contenders"]))
    if result["blocks"]:
        parts.append(_reading(result))
    if result["notes"]:
        parts.append(notes_text(result["notes"]))
    if result["ranks"]:
        parts.append(_ranks(result["ranks"]))
    if result["cost"]:
        parts += ["## Cost\n", cost_table(result["cost"]), COST_NOTE]
    if result["incomplete"]:
        told = incomplete_text(result["incomplete"], result["seeds_of"])
        parts += ["## Not complete\n", told]
    if result["versions_differ"]:
        parts.append(versions_text(result["versions_differ"]))
    return "\n".join(parts)


def setup(result: Mapping[str, Any]) -> str:
    """What was done, and the commands that do it."""
    budget = result["budget"]
    per = "contender, on the first fold of seed 0" if result["tune"] == "once" else "fold"
    tuning = f"{budget} trials per {per}" if budget > 1 else "defaults, no tuning"
    commands = "".join(f"\n    {line}" for line in result["commands"])
    hide = result["hide"]
    hidden = f"hidden from test patients, one at a time: {', '.join(hide)}; " if hide else ""
    return (
        f"{result['cohort']['num_patients']:,} patients; split: {result['split']}; {hidden}"
        f"{result['folds']} folds x {_seeds(result['seeds'])}; {tuning}."
        f"{_of_class(result)}\n" + (f"{commands}\n" if commands else "")
    )


def block_title(block: str) -> str:
    """A block in words."""
    if block.startswith(WITHOUT):
        return f"The same {block}"
    return BLOCK_TITLES.get(block, f"Combinations of {block} patients")


def block_table(result: Mapping[str, Any], contenders: Mapping[str, Any]) -> str:
    """A row per contender: means with intervals, differences to the reference, adjusted p."""
    metrics, reference = result["metrics"], result["reference"]
    header = ["contender", *(f"{title(metric)} [95%]" for metric in metrics)]
    for metric in metrics:
        header += [f"{title(metric)} − {reference} [95%]", "p (Holm)"]
    rows = []
    for name, values in contenders.items():
        row = [with_seeds(name, result["seeds_of"], result["seeds"])]
        row += [with_interval(values[m]["mean"], values[m]["ci"]) for m in metrics]
        for metric in metrics:
            value = values[metric]
            row.append(with_interval(value["difference"], value["difference_ci"], sign=True))
            row.append(p_text(value["p_holm"]))
        rows.append(row)
    return markdown_table(header, rows)


def csv(result: Mapping[str, Any]) -> str:
    """results.csv: a row per block, contender and metric."""
    rows = []
    for block, of_block in result["blocks"].items():
        for name, by_metric in of_block["contenders"].items():
            method, _, objective = name.partition("+")
            for metric, value in by_metric.items():
                low, high = value["ci"] or (None, None)
                difference_low, difference_high = value["difference_ci"] or (None, None)
                rows.append(
                    {
                        "block": block,
                        "n": of_block["n"],
                        "contender": name,
                        "seeds": len(result["seeds_of"][name]),
                        "method": method,
                        "objective": objective,
                        "metric": metric,
                        "mean": value["mean"],
                        "low": low,
                        "high": high,
                        "reference": result["reference"],
                        "difference": value["difference"],
                        "difference_low": difference_low,
                        "difference_high": difference_high,
                        "p": value["p"],
                        "p_holm": value["p_holm"],
                    }
                )
    return _csv(rows)


def cost_csv(result: Mapping[str, Any]) -> str:
    """cost.csv: a row per contender."""
    return _csv([{"contender": name, **values} for name, values in result["cost"].items()])


def latex(result: Mapping[str, Any]) -> str:
    """results.tex: one tabular of booktabs, the best mean of each block in bold."""
    metrics = result["metrics"]
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{tabular}{l" + "rr" * len(metrics) + "}",
        r"\toprule",
        " & ".join(["", *(f"{_tex(title(m))} [95\\%] & difference [95\\%]" for m in metrics)])
        + r" \\",
    ]
    for block, of_block in result["blocks"].items():
        contenders = of_block["contenders"]
        best = {m: _best(contenders, m, result["seeds_of"]) for m in metrics}
        width = 1 + 2 * len(metrics)
        words = f"{_tex(block_title(block))} ($n = {of_block['n']}$)"
        lines += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{{words}}} \\"]
        for name, values in contenders.items():
            cells = [_tex(with_seeds(name, result["seeds_of"], result["seeds"]))]
            for metric in metrics:
                value = values[metric]
                mean = _tex(with_interval(value["mean"], value["ci"]))
                difference = with_interval(value["difference"], value["difference_ci"], sign=True)
                cells.append(rf"\textbf{{{mean}}}" if name in best[metric] else mean)
                cells.append(_tex(difference) + _stars(value["p_holm"]))
            lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    note = f"% difference to {result['reference']}; * p < 0.05, ** p < 0.01 after Holm"
    return "\n".join([*lines, note]) + "\n"


def cost_table(cost: Mapping[str, Mapping[str, float | None]]) -> str:
    """A row per contender."""
    rows = [
        [name, *(_count(values[key], COST_DECIMALS.get(key, 0)) for key in COST_TITLES)]
        for name, values in cost.items()
    ]
    return markdown_table(["contender", *COST_TITLES.values()], rows)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """A table in Markdown whose first `left` columns are words and the others figures."""
    ruler = ["---" if column < left else "--:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ruler, *rows)) + "\n"


def figure(value: float | None, decimals: int = 4, *, sign: bool = False) -> str:
    """A number for a table; what is undefined is "–"."""
    if value is None:
        return UNDEFINED
    return f"{value:+.{decimals}f}" if sign else f"{value:.{decimals}f}"


def with_interval(value: float | None, ci: Sequence[float] | None, *, sign: bool = False) -> str:
    """A figure and its interval, such as "+0.0123 [+0.0012, +0.0234]"."""
    if ci is None or value is None:
        return figure(value, sign=sign)
    low, high = (figure(bound, sign=sign) for bound in ci)
    return f"{figure(value, sign=sign)} [{low}, {high}]"


def p_text(p: float | None) -> str:
    """A p-value, none below what is shown."""
    if p is None:
        return UNDEFINED
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def versions_text(versions: Mapping[str, Sequence[str]]) -> str:
    """A line per package of which fits were made with several versions."""
    return "".join(
        f"{package}: fits of several versions, {', '.join(found)}\n"
        for package, found in versions.items()
    )


def notes_text(notes: Mapping[str, str]) -> str:
    """A line per contender that had to do something otherwise than published."""
    return "".join(f"{name}: {note}\n" for name, note in notes.items())


def with_seeds(name: str, seeds_of: Mapping[str, Sequence[int]], num_all: int) -> str:
    """A contender, and how many seeds its figures are of if that is not all."""
    num = len(seeds_of[name])
    return name if num == num_all else f"{name} ({_seeds(num)})"


def incomplete_text(
    incomplete: Mapping[str, Sequence[int]], seeds_of: Mapping[str, Sequence[int]] | None = None
) -> str:
    """A line per contender that has not all its fits."""
    shown = {name: f"shown with {_seeds(len(seeds))}" for name, seeds in (seeds_of or {}).items()}
    return "".join(
        f"{name}: {shown.get(name, 'not shown')}, {done} of {needed} fits are there\n"
        for name, (done, needed) in incomplete.items()
    )


COST_NOTE = (
    "Means over the fits. Parameters: trained numbers, or splits and leaves of trees. Inference: "
    "all test patients at once. Peak memory: of the process of a fit, with Python, its libraries "
    "and the cohort. One thread each; seconds depend on the machine and on what ran beside.\n"
)


def _seeds(num: int) -> str:
    return "1 seed" if num == 1 else f"{num} seeds"


def _of_class(result: Mapping[str, Any]) -> str:
    """The class that is counted, where a metric counts one."""
    counting = [title(metric) for metric in OF_POSITIVE if metric in result["metrics"]]
    if result["positive"] is None or not counting:
        return ""
    return f" {' and '.join(counting)}: of the class {result['positive']}."


def _reading(result: Mapping[str, Any]) -> str:
    boot = result["bootstrap"]
    better = ", ".join(
        f"a {'higher' if is_better(m, 1.0) else 'lower'} {title(m)}" for m in result["metrics"]
    )
    return (
        f"Better: {better}. Mean over seeds, of a difference over those that both have; intervals "
        "of a bootstrap of "
        f"persons ({boot['num_boot']} resamples), paired for the differences; p adjusted by Holm "
        "over the contenders of a table. Blocks by the number of patients of the whole cohort that "
        "are observed in the same modalities.\n"
    )


def _ranks(result: Mapping[str, Any]) -> str:
    rows = [[name, f"{rank:.2f}"] for name, rank in result["mean_ranks"].items()]
    cliques = "; ".join(", ".join(names) for names in result["cliques"]) or "none"
    return (
        f"## Ranks\n\n{markdown_table(['contender', 'mean rank'], rows)}\n"
        f"By {title(result['metric'])} over {result['num_folds']} folds: Friedman "
        f"p {p_text(result['p'])}, critical difference {result['critical_difference']:.2f} "
        f"(Nemenyi, 5%). Not told apart: {cliques}.\n\n![critical differences](cd.svg)\n"
    )


def _best(
    contenders: Mapping[str, Any], metric: str, seeds_of: Mapping[str, Sequence[int]]
) -> set[str]:
    """The contenders with the best mean as it is shown, among those with the most seeds."""
    most = max(len(seeds_of[name]) for name in contenders)
    means = {
        name: values[metric]["mean"]
        for name, values in contenders.items()
        if len(seeds_of[name]) == most
    }
    defined = {name: value for name, value in means.items() if value is not None}
    top = max(defined.values(), key=lambda v: v if is_better(metric, 1.0) else -v, default=None)
    return {name for name, value in defined.items() if figure(value) == figure(top)}


def _stars(p: float | None) -> str:
    if p is None or p >= 0.05:
        return ""
    return "$^{**}$" if p < 0.01 else "$^{*}$"


def _tex(text: str) -> str:
    """Text for LaTeX."""
    text = "".join(TEX.get(sign, sign) for sign in text)
    return re.sub(r"(?<![\w.])([+-])(?=\d)", r"$\1$", text).replace("–", "--")


def _count(value: float | None, decimals: int) -> str:
    return UNDEFINED if value is None else f"{value:,.{decimals}f}"


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    buffer = io.StringIO()
    pd.DataFrame(rows).to_csv(buffer, index=False)
    return buffer.getvalue()
