"""The result of an experiment as Markdown: our figures beside the published ones, in percent."""

from collections.abc import Iterator, Mapping
from typing import Any

from remind.reproduce.config import BLOCKS

UNDEFINED = "–"
TITLES = {
    "accuracy": "accuracy",
    "f1": "F1",
    "f1_macro": "macro F1",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "calibration error",
}


def reproduction_table(result: Mapping[str, Any]) -> str:
    """Markdown of what `reproduce` returned.

    A row per block, metric and average; a column per arm with mean ± standard deviation over seeds
    and the interval of the patients, and one of published figures with numbers of their origins.
    """
    origins = list(dict.fromkeys(figure["origin"] for figure in result["published"]))
    lines = [f"# {result['title']}", "", *_about(result), ""]
    lines += _table(result, origins)
    if result["compare"]:
        lines += ["", *_differences(result, origins)]
    lines += ["", *(f"[{number}] {origin}." for number, origin in enumerate(origins, 1))]
    lines += result["notes"]
    return "\n".join(lines).rstrip() + "\n"


def _about(result: Mapping[str, Any]) -> Iterator[str]:
    cohort, bands = result["cohort"], result["bands"]
    splits = ", ".join(f"{name} {num:,}" for name, num in cohort["splits"].items())
    seeds = "1 seed" if result["num_seeds"] == 1 else f"{result['num_seeds']} seeds"
    yield (
        f"{cohort['name']}: {cohort['num_patients']:,} patients ({splits}), modalities "
        f"{', '.join(cohort['modalities'])}; {seeds}, split {result['split']}."
    )
    yield (
        f"Tail: combinations of at most {bands['tail_share']:.0%} of the "
        f"{bands['num_train']:,} training patients ({bands['head']:,}), those that training never "
        "saw too; head: the others."
    )
    yield (
        "In percent: mean ± standard deviation over seeds, in brackets the 95% bootstrap interval "
        "over persons of the mean."
    )


def _table(result: Mapping[str, Any], origins: list[str]) -> list[str]:
    arms = list(result["arms"])
    rows = [["", "", "averaged over", "n", *arms, "published"]]
    rows.append(["---", "---", "---", "--:", *["---"] * (len(arms) + 1)])
    for block in BLOCKS:
        for metric in result["metrics"]:
            for average, unit in (("patients", "patients"), ("groups", "combinations")):
                num = result["arms"][arms[0]][block]["n" if unit == "patients" else "num_groups"]
                cells = [_figure(result["arms"][arm][block][average][metric]) for arm in arms]
                published = _published(result, block, metric, average, origins)
                rows.append([block, TITLES[metric], unit, f"{num:,}", *cells, published])
    return [f"| {' | '.join(row)} |" for row in rows]


def _figure(figure: Mapping[str, Any]) -> str:
    if figure["mean"] is None:
        return UNDEFINED
    sd = "" if figure["sd"] is None else f" ± {100 * figure['sd']:.1f}"
    return f"{100 * figure['mean']:.1f}{sd}{_bounds(figure['ci'])}"


def _bounds(ci: list[float] | None, sign: str = "") -> str:
    return "" if ci is None else f" ({', '.join(f'{100 * bound:{sign}.1f}' for bound in ci)})"


def _published(
    result: Mapping[str, Any], block: str, metric: str, average: str, origins: list[str]
) -> str:
    """The figures of a row; one whose average is not stated stands beside both."""
    main = next(iter(result["arms"]))
    told = []
    for figure in result["published"]:
        is_here = figure["block"] == block and figure["metric"] == metric
        if is_here and figure["versus"] is None and figure["average"] in (average, "unstated"):
            whose = "" if figure["arm"] == main else f"{figure['arm']} "
            doubt = ", average unstated" if figure["average"] == "unstated" else ""
            number = origins.index(figure["origin"]) + 1
            told.append(f"{whose}{figure['percent']:.1f}{doubt} [{number}]")
    return "; ".join(told) or UNDEFINED


def _differences(result: Mapping[str, Any], origins: list[str]) -> Iterator[str]:
    """A line per arm, block and metric: the difference of the first arm to it, over patients."""
    main = next(iter(result["arms"]))
    for arm, blocks in result["compare"].items():
        for block in BLOCKS:
            found = blocks.get("overall" if block == "all" else block)
            for metric in result["metrics"] if found else ():
                item = found[metric]
                if item["difference"] is None:
                    continue
                p = "" if item["p"] is None else f", p = {item['p']:.3f}"
                published = "".join(
                    f"; published {figure['percent']:+.1f} [{origins.index(figure['origin']) + 1}]"
                    for figure in result["published"]
                    if figure["versus"] == arm
                    and figure["block"] == block
                    and figure["metric"] == metric
                )
                yield (
                    f"- {main} less {arm}, {block}, {TITLES[metric]}: "
                    f"{100 * item['difference']:+.1f}{_bounds(item['ci'], '+')}{p}{published}"
                )
