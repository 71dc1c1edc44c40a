"""Routing: which combinations use which experts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from remind.report.blocks import (
    Block,
    Column,
    Facts,
    Figure,
    Finding,
    Section,
    Table,
    names,
    numbers,
)
from remind.report.plots import matrix
from remind.report.runs import ReportedRun
from remind.report.sections.parts import blocks_of, findings_of
from remind.report.svg import FULL_WIDTH, inline
from remind.report.words import (
    UNDEFINED,
    count,
    joined,
    number,
    p_value,
    percent,
    plural,
    short_group,
    signed,
    with_interval,
)

MAX_GROUPS = 24
MAX_EXPERTS = 32
MIN_PATIENTS = 5
SIGNIFICANT = 0.05


def routing_section(runs: Sequence[ReportedRun]) -> Section:
    """A heat map and figures of every mixture."""
    return Section(
        id="routing",
        title="Who uses which experts?",
        lead="Where experts specialise, the combination tells which of them a patient's tokens go "
        "to. The information between combination and expert is 0 if it tells nothing.",
        blocks=blocks_of(runs, "routing", "Routing", _blocks),
        summary=findings_of(runs[0], "routing", _say),
    )


def _blocks(run: ReportedRun, part: dict[str, Any], name: str) -> Sequence[Block]:
    blocks: list[Block] = []
    for position, mixture in enumerate(part["mixtures"]):
        blocks += [_map(run, mixture, f"{name}-{position}"), _facts(run, mixture)]
    return blocks


def _map(run: ReportedRun, mixture: dict[str, Any], name: str) -> Figure:
    large = [group for group in mixture["groups"] if group["n"] >= MIN_PATIENTS]
    largest = sorted(large or mixture["groups"], key=lambda group: -group["n"])[:MAX_GROUPS]
    shown = sorted(largest, key=lambda group: -group["n_train"])
    gates_GE = np.array([group["gates"] for group in shown])
    used = np.sort(np.argsort(-gates_GE.sum(axis=0), kind="stable")[:MAX_EXPERTS])
    rows = [
        f"{short_group(group['group'], run.modalities, 36)} ({count(group['n_train'])})"
        for group in shown
    ]
    columns = [str(expert + 1) for expert in used.tolist()]
    values = gates_GE[:, used].tolist()

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        matrix(axes, values, rows, columns, most=float(gates_GE.max()))
        axes.set_xlabel("expert")

    title = f"Experts by combination, {run.label}: {mixture['name']}"
    caption = (
        f"Mean weight of each expert; darker is more. The {len(shown)} combinations with most "
        "evaluated patients, sorted by their training patients (in brackets)."
    )
    if len(used) < gates_GE.shape[1]:
        caption += f" The {len(used)} most used of {gates_GE.shape[1]} experts."
    table = Table(
        caption=f"{title}: figures",
        columns=[Column("Combination", is_number=False), *(Column(name) for name in columns)],
        rows=[
            [names(label), *(numbers(number(gate, 2), gate) for gate in gates)]
            for label, gates in zip(rows, values, strict=True)
        ],
    )
    size = (FULL_WIDTH, 0.7 + 0.21 * len(shown))
    svg = inline(name, title, caption, size, paint)
    return Figure(title=title, caption=caption, svg=svg, table=table, is_wide=True)


def _facts(run: ReportedRun, mixture: dict[str, Any]) -> Facts:
    told, balance = mixture["information"], mixture["balance"]
    similar, part = mixture["similarity"], mixture["group_part"]
    facts = [
        (
            "Information of combination and expert",
            f"{with_interval(told['nats'], told['ci'])} nats, {p_value(told['p'])}; "
            f"{percent(told['share'])} of the entropy of expert use",
        ),
        (
            "Balance",
            f"{number(balance['effective'], 1)} experts in effect of {balance['of']}; the most "
            f"used has {percent(balance['largest'])}; {balance['idle']} idle",
        ),
        (
            "Specialisation",
            f"{number(mixture['specialisation']['patient'], 1)} experts in effect for a patient, "
            f"{number(mixture['specialisation']['group'], 1)} for a combination",
        ),
        ("Part of the combination in routing", _by_band(part)),
        (
            "Like combinations, like routing",
            f"Spearman's ρ {signed(similar['rho'], 2)}, {p_value(similar['p'])} (Mantel), over "
            f"{plural(similar['n'], 'combination')}",
        ),
    ]
    if mixture["gate"] is not None:
        facts.append(("Entropy gate", _by_band(mixture["gate"])))
    return Facts(facts)


def _by_band(means: dict[str, float | None]) -> str:
    told = [f"{band} {number(value)}" for band, value in means.items() if value is not None]
    return joined(told) or UNDEFINED


def _say(run: ReportedRun, part: dict[str, Any]) -> Sequence[Finding]:
    if not part["mixtures"]:
        return []
    mixture = max(part["mixtures"], key=lambda some: some["information"]["nats"])
    told, balance = mixture["information"], mixture["balance"]
    is_shown = told["p"] is not None and told["p"] <= SIGNIFICANT
    verdict = (
        "Experts specialise by combination."
        if is_shown
        else "No clear sign that experts specialise by combination."
    )
    return [
        Finding(
            verdict,
            f"The combination tells {with_interval(told['nats'], told['ci'])} nats of the expert "
            f"({p_value(told['p'])}); in effect {number(balance['effective'], 1)} of "
            f"{balance['of']} experts are used.",
        )
    ]
