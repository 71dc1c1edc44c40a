"""Prepare, fit over seeds, evaluate: each part is kept in the output folder and done once.

OUT/request.json       what the cohort was made of
OUT/cohort/            the cohort folder
OUT/runs/ARM/seed-S/   the run folders
OUT/predictions/       a table per arm: test patients under all seeds
OUT/result.json  OUT/table.md
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from remind.cohort import Bands, Cohort, read_cohort
from remind.cohort.schema import FILE_NAME
from remind.errors import InputError
from remind.evaluation import compare, evaluate, write_predictions
from remind.evaluation.bootstrap import NUM_BOOT
from remind.methods import find_method
from remind.reproduce.config import Experiment, as_request, load_experiment
from remind.reproduce.figures import ShareBands, arm_figures
from remind.reproduce.table import reproduction_table
from remind.sources.prepare import PREPARE, prepare
from remind.training import Progress, Settings, fit_run
from remind.training.files import read_json, write_json, write_text

SPLIT = "test"
REQUEST, RESULT, TABLE = "request.json", "result.json", "table.md"
EFFORT = ("memory", "threads")
"""Options of a source that say how it is prepared, not what comes of it."""


def reproduce(
    name: str | Path,
    root: Path | None,
    out: Path,
    *,
    seeds: int | None = None,
    overrides: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    num_boot: int = NUM_BOOT,
    progress: Callable[[str], Progress] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Do an experiment, or what is left of it.

    Args:
        name: mimic-iv, embed or fprm, or a TOML file (`remind.reproduce.config`).
        root: the raw files, or a cohort folder that was prepared from them without a mask.
        out: where everything goes; what is there already is used.
        seeds: how many; those of the experiment if None.
        overrides: `key=value`, settings that win over those of the experiment; in other arms than
            the first one those that they know, and never the objective.
        options: of the source, which win over those of the experiment.
        num_boot: resamples of persons.
        progress: makes the one who is told how a fit goes, from its title.
        tell: is told in a sentence what happens.

    Returns:
        What result.json holds: the experiment, the cohort, the bands, figures of every arm (see
        `arm_figures`), comparisons and the published figures.

    Raises:
        InputError: the experiment, the root or a setting cannot be, or `out` holds something else.
    """
    experiment = load_experiment(name)
    seed_list = list(range(experiment.seeds if seeds is None else seeds))
    if not seed_list:
        raise InputError(f"--seeds must be at least 1, got {seeds}")
    settings = _settings(experiment, seed_list, overrides)
    folder = _prepared(experiment, root, out, dict(options or {}), tell)
    cohort = read_cohort(folder)
    bands = ShareBands(share=experiment.bands.tail_share, num_train=len(cohort.rows("train")))
    frames = {}
    for arm, of_seeds in settings.items():
        runs = out / "runs" / arm.replace(" ", "-")
        frames[arm] = _predictions(
            arm, of_seeds, cohort, folder, runs, bands, num_boot, progress, tell
        )
        file = out / "predictions" / f"{runs.name}.parquet"
        file.parent.mkdir(exist_ok=True)
        write_predictions(frames[arm], file)
    result = _result(experiment, name, cohort, bands, settings, frames, num_boot)
    write_json(out / RESULT, result)
    write_text(out / TABLE, reproduction_table(result))
    return result


def _settings(
    experiment: Experiment, seeds: list[int], overrides: Sequence[str]
) -> dict[str, list[Settings]]:
    """The settings of every arm and seed."""
    settings = {}
    for arm, spec in experiment.arms.items():
        known = set(spec.settings(0).to_dict()) - {"objective"}
        own = [pair for pair in overrides if pair.partition("=")[0].strip() in known]
        chosen = overrides if arm == experiment.main else own
        settings[arm] = [spec.settings(seed, chosen) for seed in seeds]
    return settings


def _prepared(
    experiment: Experiment,
    root: Path | None,
    out: Path,
    options: dict[str, Any],
    tell: Callable[[str], None],
) -> Path:
    """The cohort folder, made if it is not there yet."""
    mask = experiment.mask_spec()
    is_cohort = root is not None and (root / FILE_NAME).is_file()
    source = "cohort" if is_cohort else experiment.source
    has_root = source not in PREPARE or "root" in PREPARE[source].options
    if has_root and root is None:
        raise InputError(f'"{experiment.source}" needs --root: it says where the raw files are')
    options = {} if is_cohort else experiment.options(root, options)
    options |= {"root": root} if has_root else {}
    request = {
        "source": source,
        "options": as_request({**options, **({"root": root.resolve()} if root else {})}),
        "mask": None if mask is None else mask.to_dict(),
    }
    folder = out / "cohort"
    if not (out / REQUEST).is_file() and out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty and holds no reproduction: name another folder")
    if folder.exists():
        _check_same(read_json(out / REQUEST), request, out)
        tell(f"the cohort is there: {folder}")
        return folder
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / REQUEST, request)
    tell(f"preparing {source}")
    prepare(source, folder, mask=mask, **options)
    return folder


def _check_same(before: dict[str, Any], now: dict[str, Any], out: Path) -> None:
    before, now = _without_effort(before), _without_effort(now)
    for key in ("source", "options", "mask"):
        if before.get(key) != now[key]:
            raise InputError(
                f"{out} holds a cohort prepared with another {key} ({before.get(key)}, now "
                f"{now[key]}): name another folder, or ask for the same"
            )


def _without_effort(request: dict[str, Any]) -> dict[str, Any]:
    options = request.get("options", {})
    return request | {"options": {key: options[key] for key in options if key not in EFFORT}}


def _predictions(
    arm: str,
    settings: list[Settings],
    cohort: Cohort,
    folder: Path,
    runs: Path,
    bands: ShareBands,
    num_boot: int,
    progress: Callable[[str], Progress] | None,
    tell: Callable[[str], None],
) -> pd.DataFrame:
    """Predictions of test patients under all seeds, with the experiment's bands.

    The evaluation that every run folder keeps has the bands of the run's settings.
    """
    frames = []
    for one in settings:
        title = f"{arm}, seed {one.seed}"
        tell(f"fitting {title}")
        run = fit_run(
            cohort,
            find_method(one.method),
            one,
            runs / f"seed-{one.seed}",
            resume=True,
            progress=None if progress is None else progress(title),
            source=folder,
        )
        frame = run.predictions(SPLIT, cohort)
        frames.append(frame.assign(band=bands.of(frame["n_train"].to_numpy()), method=arm))
        assert run.folder is not None
        own = Bands(head=run.settings.bands_head, medium=run.settings.bands_medium)
        name = cohort.spec.cohort.name
        run.folder.write_evaluation(evaluate(frame, cohort=name, bands=own, num_boot=num_boot))
    return pd.concat(frames, ignore_index=True)


def _result(
    experiment: Experiment,
    name: str | Path,
    cohort: Cohort,
    bands: ShareBands,
    settings: Mapping[str, list[Settings]],
    frames: Mapping[str, pd.DataFrame],
    num_boot: int,
) -> dict[str, Any]:
    main = experiment.main
    return {
        "experiment": str(name),
        "title": experiment.title,
        "notes": experiment.notes,
        "cohort": {
            "name": cohort.spec.cohort.name,
            "fingerprint": cohort.fingerprint,
            "num_patients": len(cohort),
            "splits": {split: len(cohort.rows(split)) for split in ("train", "val", "test")},
            "modalities": list(cohort.spec.modality_names),
        },
        "bands": {"tail_share": bands.share, "head": bands.head, "num_train": bands.num_train},
        "split": SPLIT,
        "metrics": experiment.metrics,
        "num_seeds": len(settings[main]),
        "bootstrap": {"unit": "person", "num_boot": num_boot, "level": 0.95, "seed": 0},
        "settings": {arm: of_seeds[0].to_dict() for arm, of_seeds in settings.items()},
        "arms": {
            arm: arm_figures(frame, bands, experiment.metrics, num_boot=num_boot)
            for arm, frame in frames.items()
        },
        "compare": {
            arm: compare(
                frames[arm],
                frames[main],
                metrics=experiment.metrics,
                block="band",
                num_boot=num_boot,
            )["blocks"]
            for arm in frames
            if arm != main
        },
        "published": [figure.model_dump() for figure in experiment.published],
    }
