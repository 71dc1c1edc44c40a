"""A diagnosis in words: a line or two per part."""

from collections.abc import Callable, Iterable
from typing import Any

Lines = Iterable[str]

SHOWN_MODALITIES = 3
PARTS_IN_WORDS = {
    "long_tail": "long tail",
    "gradients": "gradients",
    "concept_shift": "concept shift",
    "routing": "routing",
    "group_weights": "group weights",
    "attributable": "gap",
    "calibration": "calibration",
    "conformal": "conformal",
    "acquisition": "what would help",
}


def summary_lines(result: dict[str, Any]) -> list[str]:
    """At most 25 lines: what each part found, and why a part is absent."""
    lines = [
        f"{result['cohort']}, method {result['method']}, {result['n']} patients of the split "
        f'"{result["split"]}"'
    ]
    for part, name in PARTS_IN_WORDS.items():
        if result.get(part) is not None:
            lines += [f"{name}: {line}" for line in SENTENCES[part](result[part])]
        elif part in result["absent"]:
            lines.append(f"{name}: not done: {result['absent'][part]}")
    return lines


def _long_tail(part: dict[str, Any]) -> Lines:
    unseen = part["unseen"]
    yield (
        f"{part['num_groups']} combinations, as unequal as {part['effective_groups']:.1f} equal "
        f"ones; of new patients {_share(unseen['expected'], unseen['ci'])} are expected to bring "
        "an unseen one"
    )


def _gradients(part: dict[str, Any]) -> Lines:
    trained = part["trained"]
    bands = ", ".join(
        f"{band} {block['cosine']:.2f} (by chance {block['expected']:.2f})"
        for band, block in trained["bands"].items()
        if block["groups"]
    )
    yield f"mean cosine with the overall gradient: {bands}"
    yield (
        f"against group size rho {_correlation(trained['size'])}; beyond chance "
        f"{_correlation(trained['size_beyond_chance'])}"
    )
    below = trained["below_chance"]
    yield (
        f"{below['groups']} of {below['n']} groups are less consistent than equally many random "
        f"patients (about {below['by_chance'] * below['n']:.0f} would be by chance)"
    )


def _concept_shift(part: dict[str, Any]) -> Lines:
    overall = part["overall"]
    clusters = len({group["cluster"] for group in part["groups"]})
    yield (
        f"another group's function costs {overall['excess']:.4f}{_ci(overall['ci'], '.4f')} nats "
        f"more than the own one (p {_p(overall['p'])}); {overall['significant']} of "
        f"{overall['pairs']} pairs differ, {len(part['groups'])} groups share {clusters} functions"
    )


def _routing(part: dict[str, Any]) -> Lines:
    for mixture in part["mixtures"][-2:]:
        information, balance = mixture["information"], mixture["balance"]
        rho = mixture["similarity"]["rho"]
        alike = "" if rho is None else f"; alike for similar combinations: rho {rho:.2f}"
        yield (
            f"I(group; expert) {information['nats']:.3f}{_ci(information['ci'], '.3f')} nats "
            f"(p {_p(information['p'])}), {balance['effective']:.1f} of {balance['of']} experts "
            f"in use; the group moves {mixture['group_part']['all']:.0%} of the routing{alike}"
        )


def _group_weights(part: dict[str, Any]) -> Lines:
    yield part["health"]


def _attributable(part: dict[str, Any]) -> Lines:
    for band, block in part["bands"].items():
        if block is None:
            continue
        parts = block["log_loss"]["parts"]
        shown = ", ".join(
            f"{name} {_signed(parts[name]['value'])}{_ci(parts[name]['ci'], '.3f')}"
            for name in ("information", "patients", "function", "model")
            if parts[name]["value"] is not None
        )
        gap = parts["gap"]
        if gap["value"] is not None:
            gap_in_words = f"{band} loses {_signed(gap['value'])}{_ci(gap['ci'], '.3f')} nats"
            yield f"{gap_in_words}: {shown}" if shown else gap_in_words


def _calibration(part: dict[str, Any]) -> Lines:
    blocks = part["blocks"].items()
    yield "error (ECE): " + ", ".join(
        f"{name} {block['ece']:.3f}{_ci(block['ci']['ece'], '.3f')}"
        for name, block in blocks
        if block["ece"] is not None
    )


def _conformal(part: dict[str, Any]) -> Lines:
    for way, blocks in part["ways"].items():
        covered = ", ".join(
            f"{name} {_share(block['coverage'], block['ci'])}"
            for name, block in blocks.items()
            if block["coverage"] is not None
        )
        yield f"sets for {1 - part['alpha']:.0%}, by {way}: {covered}"


def _acquisition(part: dict[str, Any]) -> Lines:
    best = [m for m in part["modalities"] if m["gain"] is not None][:SHOWN_MODALITIES]
    if best:
        yield "most for those who lack it: " + ", ".join(
            f"{m['modality']} {m['gain']:.3f} nats" for m in best
        )
    pearson = part["validation"]["pearson"]
    if pearson["value"] is not None:
        yield (
            "expected against realised gain of held-out patients: r "
            f"{pearson['value']:.2f}{_ci(pearson['ci'], '.2f')}"
        )


SENTENCES: dict[str, Callable[[dict[str, Any]], Lines]] = {
    "long_tail": _long_tail,
    "gradients": _gradients,
    "concept_shift": _concept_shift,
    "routing": _routing,
    "group_weights": _group_weights,
    "attributable": _attributable,
    "calibration": _calibration,
    "conformal": _conformal,
    "acquisition": _acquisition,
}


def _correlation(block: dict[str, Any]) -> str:
    if block["rho"] is None:
        return "undefined"
    return f"{block['rho']:.2f}{_ci(block['ci'], '.2f')} (p {_p(block['p'])})"


def _share(value: float | None, ci: list[float] | None) -> str:
    return "an unknown share" if value is None else f"{value:.1%}{_ci(ci, '.1%')}"


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _ci(ci: list[float] | None, spec: str) -> str:
    return "" if ci is None else f" [{ci[0]:{spec}}, {ci[1]:{spec}}]"


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}"
