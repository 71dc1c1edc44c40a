"""Commands on runs: evaluate, diagnose, and the demo."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from remind.analyses.diagnose import PARTS, diagnose
from remind.analyses.options import Options
from remind.cohort import Bands
from remind.errors import InputError
from remind.evaluation import band_plot, band_table, evaluate, write_predictions
from remind.methods import METHODS
from remind.report import write_report
from remind.run_files import DIAGNOSIS
from remind.sources import load_source
from remind.terminal import bands_in_words, fitted
from remind.training import Run, RunFolder, fit_run, make_progress, with_overrides
from remind.training.files import read_json

DEMO_COHORT = "support2"
DEMO_METHODS = ("default", "lightgbm")
DEMO_PARTS = ("long_tail", "routing", "group_weights", "calibration", "conformal")  # the quick ones
SPLITS = ("train", "val", "test")


def evaluate_run(run: Run, split: str) -> dict[str, Any]:
    """Evaluate a run on a split of the cohort it was fitted on, and keep the result in its folder.

    Raises:
        InputError: no such split, or the cohort is gone or has changed.
    """
    _check_split(split)
    bands = Bands(head=run.settings.bands_head, medium=run.settings.bands_medium)
    predictions = run.predictions(split, run.cohort())
    result = evaluate(predictions, cohort=run.origin.name, bands=bands)
    if run.folder is not None:
        write_predictions(predictions, run.folder.predictions)
        run.folder.write_evaluation(result)
    return result


def diagnose_run(
    run: Run, split: str, parts: Sequence[str] | None, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Explain a run, and keep the diagnosis in its folder.

    Parts that are not asked for stay as an earlier diagnosis of the same split has them.

    Args:
        run: of any method.
        split: whose patients are looked at.
        parts: of the diagnosis; all if None.
        tell: is told what is being done.

    Raises:
        InputError: no such split or part, or the cohort is gone or has changed.
    """
    _check_split(split)
    result = diagnose(
        run,
        run.cohort(),
        parts=parts,
        options=Options(split=split),
        on_part=lambda part: tell(f"diagnosing: {part.replace('_', ' ')}"),
    )
    if run.folder is not None:
        if parts is not None:
            result = _with_earlier(result, run.folder.path / DIAGNOSIS, parts)
        run.folder.write_diagnosis(result)
    return result


def run_demo(out: Path, overrides: list[str], console: Console) -> None:
    """Fit our default and gradient-boosted trees on the built-in cohort, and compare them by band.

    Args:
        out: holds a run folder per method; those of an earlier demo are replaced, once there are
            others.
        overrides: ``key=value`` for our method; the seed holds for both.
        console: where the result is shown.

    Raises:
        InputError: a run of another cohort is in the way, or the settings do not fit.
    """
    folders = {name: RunFolder(out / name) for name in DEMO_METHODS}
    for folder in folders.values():
        if folder.is_run and (name := folder.config().cohort.source) != DEMO_COHORT:
            raise InputError(
                f'{folder.path} holds a run of another cohort ("{name}"), which a demo does not '
                "replace: give it another place with --out"
            )
    cohort = load_source(DEMO_COHORT)
    runs: dict[str, Run] = {}
    evaluations: dict[str, dict[str, Any]] = {}
    for name, folder in folders.items():
        method = METHODS[name]
        keys = overrides if name == "default" else overrides[:1]
        settings = with_overrides(method.default_settings(), keys)
        console.print(f"fitting {name} on {DEMO_COHORT} ({len(cohort)} patients)")
        with folder.replaced():
            runs[name] = fit_run(
                cohort,
                method,
                settings,
                folder.path,
                progress=make_progress(name),
                source=DEMO_COHORT,
            )
        console.print(fitted(runs[name]), soft_wrap=True)
        evaluations[name] = evaluate_run(runs[name], "test")
    console.print(
        f"\n{DEMO_COHORT}: in-hospital death, {evaluations['default']['n']} test patients"
    )
    console.print(band_table(evaluations))
    words = bands_in_words(evaluations["default"]["bands"])
    console.print(f"{words} Brackets: 95% bootstrap intervals over persons.", markup=False)
    picture = out / "bands.svg"
    band_plot(evaluations, picture)
    console.print(Text(f"the same as a picture: {picture}"), soft_wrap=True)
    diagnose_run(runs["default"], "test", DEMO_PARTS, console.print)
    page = write_report([folder.path for folder in folders.values()])
    console.print(Text(f"the report, for a browser: {page}"), soft_wrap=True)


def _with_earlier(result: dict[str, Any], file: Path, asked: Sequence[str]) -> dict[str, Any]:
    """A diagnosis with the parts of an earlier one of the same patients that were not asked for."""
    try:
        earlier = read_json(file)
    except (OSError, ValueError):
        return result
    if any(earlier.get(key) != result[key] for key in ("cohort", "split", "method", "n")):
        return result
    kept = [part for part in PARTS if part not in asked]
    said = {
        key: {part: earlier[key][part] for part in kept if part in earlier.get(key, {})}
        | result[key]
        for key in ("absent", "seconds")
    }
    return result | {part: earlier.get(part) for part in kept} | said


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise InputError(f'split must be one of {", ".join(SPLITS)}, got "{split}"')
