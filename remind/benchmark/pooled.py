"""Several benchmarks together: a table per cohort and split, pooled differences, and the losses.

A pooled difference is the mean over cohorts of the paired differences, each cohort counting the
same. Its replicates are the means of the cohorts' replicates, which are drawn apart. Blocks are
pooled by what they are: everyone, the rarest and the most common combinations by the edges of each
benchmark, those that training did not have, and patients from whom a modality is hidden. Who wins
and who loses is computed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from remind.benchmark import tables
from remind.benchmark.folder import BenchmarkFolder
from remind.benchmark.report import (
    METRICS_SHOWN,
    Loaded,
    count_patients,
    find_contender,
    load,
    setup_of,
)
from remind.benchmark.splits import size_blocks
from remind.benchmark.statistics import (
    ALL,
    HIDDEN,
    LEVEL,
    UNSEEN,
    Measured,
    Replicates,
    figures,
    holm,
    is_better,
    title,
)
from remind.errors import InputError
from remind.evaluation.bootstrap import NUM_BOOT

POOLED = {
    ALL: tables.BLOCK_TITLES[ALL],
    "common": "Most common combinations",
    "rare": "Rarest combinations",
    UNSEEN: tables.BLOCK_TITLES[UNSEEN],
    HIDDEN: tables.BLOCK_TITLES[HIDDEN],
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One benchmark among several.

    Args:
        path: of its folder.
        title: name of the cohort, with the folder if another one with this split has that name.
        loaded: what it holds.
        measured: its figures with replicates.
        subject: the contender that the others are held against.
    """

    path: Path
    title: str
    loaded: Loaded
    measured: Measured
    subject: str

    def seeds_with_subject(self, name: str) -> list[int]:
        """The seeds that a contender and the subject have."""
        seeds = self.loaded.seeds
        return [seed for seed in seeds[name] if seed in seeds[self.subject]]

    def block(self, role: str) -> str:
        """The name that a block of `POOLED` has here."""
        names = size_blocks(self.loaded.config.edges)
        return {"common": names[-1], "rare": names[0]}.get(role, role)


def pool(
    paths: Sequence[str | Path],
    *,
    subject: str = "default",
    metrics: Sequence[str] = METRICS_SHOWN,
    num_boot: int = NUM_BOOT,
) -> dict[str, Any]:
    """Judge several folders together.

    Args:
        paths: of benchmarks.
        subject: a contender, or the method of one, with all folds of a seed in each.
        metrics: names.
        num_boot: resamples of persons in each cohort.

    Returns:
        subject, metrics, bootstrap; parts: a report of each folder, in which the subject is the
        reference; pooled: split -> block -> contender -> metric -> subject minus contender; losses:
        where a contender has a better mean than the subject.

    Raises:
        InputError: a folder is no benchmark, or the subject has not all folds of a seed in it, or
            patients would count twice.
    """
    loaded = {Path(path): load(BenchmarkFolder(path)) for path in paths}
    _check_once([Path(path) for path in paths], loaded)
    titles = _titles(loaded)
    parts = [
        _part(path, titles[path], of_path, subject, metrics, num_boot)
        for path, of_path in loaded.items()
    ]
    shown = [_shown(part, metrics) for part in parts]
    kinds = dict.fromkeys(part.loaded.config.split for part in parts)
    return {
        "subject": subject,
        "metrics": list(metrics),
        "bootstrap": {"unit": "person", "num_boot": num_boot, "level": LEVEL},
        "parts": shown,
        "pooled": {
            kind: _pooled([part for part in parts if part.loaded.config.split == kind], metrics)
            for kind in kinds
        },
        "losses": [loss for part in shown for loss in _losses(part, metrics)],
    }


def markdown(result: Mapping[str, Any], command: str) -> str:
    """The document: pooled differences, losses, and a table per cohort, split and block."""
    subject, metrics = result["subject"], result["metrics"]
    lines = [
        "# Results\n",
        f"Written by `{command}` from the files of the benchmarks named below; nothing is typed by "
        f"hand. Intervals: 95%, bootstrap of persons ({result['bootstrap']['num_boot']} "
        "resamples), paired for differences, which are over the seeds that both have. p: "
        "two-sided, adjusted by Holm over the contenders of a table.\n",
    ]
    for kind, pooled in result["pooled"].items():
        lines += _pooled_text(kind, pooled, subject, metrics)
    lines += [f"## Where {subject} does not lead\n", _losses_text(result)]
    for part in result["parts"]:
        lines += _part_text(part)
    return "\n".join(lines)


def _check_once(paths: Sequence[Path], loaded: Mapping[Path, Loaded]) -> None:
    """No folder is named twice, and no two have the same patients and split."""
    seen: dict[tuple[str, str], Path] = {}
    for path in paths:
        config = loaded[path].config
        patients = (config.cohort.fingerprint, config.split)
        if patients not in seen:
            seen[patients] = path
        elif path.resolve() == seen[patients].resolve():
            raise InputError(f"{path} is named twice: name each benchmark once")
        else:
            raise InputError(
                f"{seen[patients]} and {path} have the same patients with the same split, and "
                "pooled they would count twice: name one of them"
            )


def _titles(loaded: Mapping[Path, Loaded]) -> dict[Path, str]:
    """The names of the cohorts, with their folders where they do not tell them apart."""
    keys = {path: (own.config.cohort.name, own.config.split) for path, own in loaded.items()}
    num_of_key, num_of_folder = Counter(keys.values()), Counter(path.name for path in loaded)
    titles = {}
    for path, (name, split) in keys.items():
        folder = path.name if num_of_folder[path.name] == 1 and path.name else path
        titles[path] = name if num_of_key[name, split] == 1 else f"{name} ({folder})"
    return titles


def _part(
    path: Path, title: str, loaded: Loaded, subject: str, metrics: Sequence[str], num_boot: int
) -> Part:
    if not loaded.frames:
        raise InputError(
            f"{path} holds no contender with all folds of a seed: let remind benchmark finish first"
        )
    try:
        own = find_contender(subject, loaded.frames)
    except InputError as error:
        raise InputError(f"{path}: {error}; name another one with --subject") from error
    measured = loaded.measured(metrics, num_boot)
    return Part(path=path, title=title, loaded=loaded, measured=measured, subject=own)


def _shown(part: Part, metrics: Sequence[str]) -> dict[str, Any]:
    """The report of a folder with the subject as the reference."""
    config = part.loaded.config
    num = count_patients(part.loaded)
    return {
        "path": str(part.path),
        "title": part.title,
        "cohort": config.to_dict()["cohort"],
        "commands": list(config.commands),
        **setup_of(config),
        "positive": part.loaded.positive,
        "metrics": list(metrics),
        "reference": part.subject,
        "blocks": {
            name: {"n": num[name], "contenders": values}
            for name, values in figures(part.measured, part.subject).items()
        },
        "cost": part.loaded.costs,
        "seeds_of": part.loaded.seeds,
        "incomplete": part.loaded.incomplete,
        "notes": part.loaded.notes,
        "versions_differ": part.loaded.versions,
    }


def _pooled(parts: Sequence[Part], metrics: Sequence[str]) -> dict[str, Any]:
    """Cohorts, and block -> contender -> metric -> the subject minus the contender."""
    names = [
        name
        for name in parts[0].loaded.frames
        if all(name in part.loaded.frames and name != part.subject for part in parts)
    ]
    blocks = {}
    for role in POOLED:
        if not all(part.block(role) in part.measured for part in parts):
            continue
        blocks[role] = {
            "where": {str(part.path): part.block(role) for part in parts},
            "contenders": _pooled_block(parts, role, names, metrics),
        }
    everyone = {name for part in parts for name in part.loaded.frames}
    return {
        "cohorts": [part.title for part in parts],
        "left_out": sorted(everyone - {*names, *(part.subject for part in parts)}),
        "seeds": max(part.loaded.config.seeds for part in parts),
        "seeds_of": {
            name: min((part.seeds_with_subject(name) for part in parts), key=len) for name in names
        },
        "blocks": blocks,
    }


def _pooled_block(
    parts: Sequence[Part], role: str, names: Sequence[str], metrics: Sequence[str]
) -> dict[str, dict[str, Any]]:
    result: dict[str, dict[str, Any]] = {name: {} for name in names}
    for metric in metrics:
        pooled = {}
        for name in names:
            by_name = [part.measured[part.block(role)][metric] for part in parts]
            pooled[name] = mean_over_cohorts(
                [
                    own[part.subject].minus(own[name])
                    for own, part in zip(by_name, parts, strict=True)
                ]
            )
        adjusted = holm({name: value.p for name, value in pooled.items()})
        for name, value in pooled.items():
            result[name][metric] = {
                "difference": value.point,
                "ci": value.ci,
                "p": value.p,
                "p_holm": adjusted[name],
            }
    return result


def mean_over_cohorts(values: Sequence[Replicates]) -> Replicates:
    """Every cohort counts the same; undefined if it is in one of them."""
    points = [value.point for value in values if value.point is not None]
    value_R = [value.value_R for value in values if value.value_R is not None]
    if len(points) < len(values):
        return Replicates(point=None, value_R=None)
    point = float(np.mean(points))
    if len(value_R) < len(values):
        return Replicates(point=point, value_R=None)
    return Replicates(point=point, value_R=np.mean(value_R, axis=0))


def _losses(part: Mapping[str, Any], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """Where the best other contender has a better mean than the subject, by block and metric."""
    losses = []
    for block, of_block in part["blocks"].items():
        for metric in metrics:
            ahead = [
                (abs(value["difference"]), name, value)
                for name, values in of_block["contenders"].items()
                for value in [values[metric]]
                if value["difference"] is not None and is_better(metric, value["difference"])
            ]
            if ahead:
                _, name, value = max(ahead, key=lambda item: item[0])
                losses.append(
                    {
                        "cohort": part["title"],
                        "split": part["split"],
                        "block": block,
                        "metric": metric,
                        "num_ahead": len(ahead),
                        "best": name,
                        "difference": value["difference"],
                        "ci": value["difference_ci"],
                        "p_holm": value["p_holm"],
                    }
                )
    return losses


def _pooled_text(
    kind: str, pooled: Mapping[str, Any], subject: str, metrics: Sequence[str]
) -> list[str]:
    lines = [f"## {subject} against the others: {kind}, {' and '.join(pooled['cohorts'])}\n"]
    if pooled["left_out"]:
        lines.append(f"Not in all of them, and so not here: {', '.join(pooled['left_out'])}.\n")
    header = ["against"]
    for metric in metrics:
        header += [f"{title(metric)}, {subject} − it [95%]", "p (Holm)"]
    for role, block in pooled["blocks"].items():
        names = list(dict.fromkeys(block["where"].values()))
        edges = f" ({' and '.join(names)} patients)" if role in ("rare", "common") else ""
        rows = []
        for name, values in block["contenders"].items():
            row = [tables.with_seeds(name, pooled["seeds_of"], pooled["seeds"])]
            for value in (values[metric] for metric in metrics):
                row.append(tables.with_interval(value["difference"], value["ci"], sign=True))
                row.append(tables.p_text(value["p_holm"]))
            rows.append(row)
        lines += [f"### {POOLED[role]}{edges}\n", tables.markdown_table(header, rows)]
    return lines


def _losses_text(result: Mapping[str, Any]) -> str:
    losses = result["losses"]
    if not losses:
        return "Nowhere in these tables does another contender have a better mean.\n"
    header = ["cohort", "split", "patients", "metric", "ahead", "best of them", "it − subject"]
    rows = [
        [
            loss["cohort"],
            loss["split"],
            loss["block"],
            title(loss["metric"]),
            str(loss["num_ahead"]),
            loss["best"],
            tables.with_interval(loss["difference"], loss["ci"], sign=True),
            tables.p_text(loss["p_holm"]),
        ]
        for loss in losses
    ]
    return tables.markdown_table([*header, "p (Holm)"], rows, left=4)


def _part_text(part: Mapping[str, Any]) -> list[str]:
    lines = [f"## {part['title']}, {part['split']}\n", tables.setup(part)]
    for block, values in part["blocks"].items():
        lines.append(f"### {tables.block_title(block)} (n = {values['n']:,})\n")
        lines.append(tables.block_table(part, values["contenders"]))
    lines += ["### Cost\n", tables.cost_table(part["cost"]), tables.COST_NOTE]
    if part["notes"]:
        lines.append(tables.notes_text(part["notes"]))
    if part["incomplete"]:
        lines.append(tables.incomplete_text(part["incomplete"], part["seeds_of"]))
    if part["versions_differ"]:
        lines.append(tables.versions_text(part["versions_differ"]))
    return lines
