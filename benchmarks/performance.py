"""The part of docs/performance.md that is generated: tables from the JSON of the benchmarks.

    python benchmarks/fusion_step.py --widths 256,512,1024 --json > DIR/fusion_step.json
    python benchmarks/train_step.py --json > DIR/train_step.json
    python benchmarks/train_step.py --fits --json > DIR/train_fits.json
    python benchmarks/inference.py --json > DIR/inference.json
    python benchmarks/scaling.py --json > DIR/scaling.json
    python benchmarks/distributed.py --json > DIR/distributed.json
    python benchmarks/performance.py --from DIR

Everything between the two marks in docs/performance.md is replaced; the rest is written by hand. A
file that is not there leaves out its table.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from remind.errors import InputError

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN = "<!-- begin: benchmarks/performance.py -->"
END = "<!-- end: benchmarks/performance.py -->"


def table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    """A Markdown table; the first column is text."""
    rule = ["---", *["--:"] * (len(head) - 1)]
    return ["| " + " | ".join(cells) + " |" for cells in (head, rule, *rows)]


def fusion_step(data: dict[str, Any]) -> list[str]:
    """The layer against the matmul bound."""
    seconds, ratio = data["seconds"], data["ratio"]
    rows = ([name, f"{seconds[name]:.3f}", f"{ratio[name]:.2f}"] for name in seconds)
    speed = seconds["loop over experts, padded"] / seconds["GroupMoE"]
    shares = ", ".join(f"{share:.0%} at width {d}" for d, share in data["share_of_peak"].items())
    return [
        f"Peak of a matmul {data['peak_gflops']:.0f} GFLOP/s, {data['tokens']} tokens. GroupMoE is "
        f"{speed:.1f} times as fast as the padded loop over experts."
        + (f" Share of the peak: {shares}." if shares else ""),
        "",
        *table(["layer, forward and backward", "seconds", "x bound"], rows),
    ]


def train_step(data: dict[str, Any]) -> list[str]:
    """Whole steps side by side."""
    seconds, ratio = data["seconds"], data["ratio"]
    rows = ([name, f"{1e3 * seconds[name]:.1f}", f"{ratio[name]:.2f}"] for name in seconds)
    return table(["step of training", "ms", "x default"], rows)


def train_fits(data: dict[str, Any]) -> list[str]:
    """Whole fits."""
    rows = ([name, f"{value:.1f}"] for name, value in data["fit_seconds"].items())
    return table(["fit on SUPPORT2", "seconds"], rows)


def inference(data: dict[str, Any]) -> list[str]:
    """Prediction by batch."""
    rows = (
        [way.replace("_", " "), size, f"{1e3 * data[way][size]:.2f}", f"{rate:,.0f}"]
        for way, by_size in data["patients_per_second"].items()
        for size, rate in by_size.items()
    )
    return table(["prediction on SUPPORT2", "batch", "ms", "patients per second"], rows)


def scaling(data: dict[str, Any]) -> list[str]:
    """Growth of a step."""
    names = ("modalities", "groups", "experts", "patients", "unobserved", "rare")
    rows = (
        [
            name,
            f"{int(key):,}",
            f"{1e3 * value:.1f}",
            f"{value / next(iter(data[name].values())):.2f}",
        ]
        for name in names
        for key, value in data[name].items()
    )
    return [
        f"Most groups against 100: {data['ratio_groups']:.2f}. "
        f"With modalities that no training patient is observed in: {data['ratio_unobserved']:.2f}; "
        f"that 1% are observed in: {data['ratio_rare']:.2f}.",
        "",
        *table(["series", "number", "ms per step", "x first"], rows),
    ]


def distributed(data: dict[str, Any]) -> list[str]:
    """Several processes."""
    rows = (
        [
            f"{fit['ranks']} {fit['strategy']}".strip(),
            f"{fit['epoch_seconds']:.2f}",
            f"{fit['ratio']:.2f}",
            f"{fit['loss_difference']:.1e}",
            f"{fit['weight_difference']:.1e}",
            f"{fit['checkpoint_bytes'] / 2**20:.2f}",
            f"{fit['most_bytes'] / 2**20:.2f}",
        ]
        for fit in data["fits"]
    )
    killed = (
        [
            f"2 {done['strategy']}",
            f"{done['restart_seconds']:.1f}",
            f"{done['epoch_seconds']:.2f}",
            f"{done['weight_difference']:.1e}",
        ]
        for done in data["restarts"]
    )
    head = ["processes", "seconds per epoch", "x one", "losses", "weights"]
    return [
        f"{data['cohort']}, lr {data['lr']:g}, {data['cores']} cores, gloo. Differences are the "
        "largest to one process, of losses relative; after a kill, to two ranks nobody killed.",
        "",
        *table([*head, "checkpoint MiB", "largest file MiB"], rows),
        "",
        *table(["killed", "seconds to the next epoch's end", "of it the epoch", "weights"], killed),
    ]


SECTIONS: dict[str, tuple[str, Callable[[dict[str, Any]], list[str]]]] = {
    "fusion_step": ("One layer of experts (`benchmarks/fusion_step.py`)", fusion_step),
    "train_step": ("A step of training (`benchmarks/train_step.py`)", train_step),
    "train_fits": ("Whole fits (`benchmarks/train_step.py --fits`)", train_fits),
    "inference": ("Prediction (`benchmarks/inference.py`)", inference),
    "scaling": ("Growth (`benchmarks/scaling.py`)", scaling),
    "distributed": ("Several processes (`benchmarks/distributed.py`)", distributed),
}


def generate(folder: Path) -> str:
    """The generated part, from the files of a folder.

    Raises:
        InputError: none of the files is there.
    """
    lines: list[str] = []
    for name, (title, section) in SECTIONS.items():
        file = folder / f"{name}.json"
        if file.is_file():
            data = json.loads(file.read_text())
            lines += [f"## {title}", "", f"{data['threads']} threads.", "", *section(data), ""]
    if not lines:
        names = ", ".join(f"{name}.json" for name in SECTIONS)
        raise InputError(f"{folder} has none of {names}: write them first with --json")
    return "\n".join(lines)


def insert(page: str, part: str) -> str:
    """The page with its generated part replaced, or added at the end."""
    before, begin, rest = page.partition(BEGIN)
    after = rest.partition(END)[2] if begin else "\n"
    return f"{before.rstrip()}\n\n{BEGIN}\n\n{part}\n{END}{after}"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description="Generate the tables of docs/performance.md.")
    parser.add_argument("--from", dest="folder", type=Path, required=True, help="of the JSON files")
    parser.add_argument("--page", type=Path, default=PAGE, help="that is changed")
    given = parser.parse_args()
    given.page.write_text(insert(given.page.read_text(), generate(given.folder)))


if __name__ == "__main__":
    main()
