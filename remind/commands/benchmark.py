"""Commands that hold methods against each other: benchmark, and results of several benchmarks."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from remind.benchmark import pooled, tables
from remind.benchmark.config import command
from remind.benchmark.contenders import chosen, make_contenders
from remind.benchmark.folder import BenchmarkFolder
from remind.benchmark.ranks import MIN_RANKED, require_pictures
from remind.benchmark.report import METRICS_SHOWN, RESULTS, find_contender, make_report
from remind.benchmark.run import MakeExecutor, Request, on_processes, on_ray, run_benchmark
from remind.benchmark.splits import parse_edges
from remind.errors import InputError
from remind.evaluation import METRICS
from remind.evaluation.bootstrap import NUM_BOOT
from remind.evaluation.predictions import check_place
from remind.methods import METHODS
from remind.objectives import OBJECTIVES
from remind.training.files import write_text

EXECUTORS = ("processes", "ray")


def make_request(source: str, out: Path, options: Mapping[str, Any]) -> Request:
    """What the command line asks for.

    Raises:
        InputError: no such method or objective, or edges that are none.
    """
    objectives = options["objectives"]
    hide = [name.strip() for name in options["hide"].split(",") if name.strip()]
    request = Request(
        hide=hide,
        methods=chosen(options["methods"], METHODS, "method"),
        objectives=None if objectives is None else chosen(objectives, OBJECTIVES, "objective"),
        sets=tuple(options["sets"]),
        edges=None if options["edges"] is None else parse_edges(options["edges"]),
        **{key: options[key] for key in ("seeds", "folds", "split", "budget", "tune")},
    )
    words = ["benchmark", source, "--methods", ",".join(request.methods)]
    if request.objectives is not None:
        words += ["--objectives", ",".join(request.objectives)]
    for key in ("split", "folds", "seeds", "budget", "tune"):
        words += [f"--{key}", str(getattr(request, key))]
    words += ["--hide", ",".join(request.hide)] if request.hide else []
    words += ["--edges", ",".join(map(str, request.edges))] if request.edges else []
    words += [word for pair in request.sets for word in ("--set", pair)]
    return Request(**{**vars(request), "command": command([*words, "--out", str(out)])})


def do_benchmark(
    source: str | None,
    out: Path,
    *,
    is_report: bool,
    options: Mapping[str, Any],
    tell: Callable[[str], object],
) -> tuple[dict[str, Any], list[str]]:
    """Run what is missing, unless only the report is asked for, and write the report.

    Args:
        source: the cohort; not needed for a report.
        out: the folder.
        is_report: whether to run nothing.
        options: of the command, by name.
        tell: is told how it goes.

    Returns:
        What results.json holds, and a sentence per fit that failed.

    Raises:
        InputError: an option cannot be, or the folder holds another benchmark.
    """
    metrics = _metrics(options["metrics"], options["num_boot"])
    errors: list[str] = []
    if not is_report:
        if source is None:
            raise InputError("benchmark needs a COHORT (or --report, to show what is there)")
        request = make_request(source, out, options)
        asked = make_contenders(METHODS, request.methods, request.objectives, request.sets)
        folder = BenchmarkFolder(out)
        names = {contender.name for contender in asked}
        names |= set(folder.config().contenders) if folder.is_benchmark else set()
        if options["reference"] is not None:
            find_contender(options["reference"], dict.fromkeys(names))
        if len(names) >= MIN_RANKED:
            require_pictures()
        executor = make_executor(options["executor"], options["jobs"], options["address"])
        errors = run_benchmark(source, request, out, executor, tell)
        tell("nothing is left to do; writing the report")
    result = make_report(
        out,
        reference=options["reference"],
        metrics=metrics,
        edges=None if options["edges"] is None else parse_edges(options["edges"]),
        num_boot=options["num_boot"],
    )
    tell(f"the report is in {out}, as {RESULTS}.md, .csv, .tex and .json")
    return result, errors


def make_executor(name: str, jobs: int | None, address: str | None) -> MakeExecutor:
    """The executor that the options name.

    Raises:
        InputError: there is none, or an option is not for it.
    """
    if name not in EXECUTORS:
        raise InputError(f'--executor must be one of {", ".join(EXECUTORS)}, got "{name}"')
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs must be at least 1, got {jobs}")
    if name == "ray":
        return on_ray(jobs, address)
    if address is not None:
        raise InputError("--address is that of a Ray cluster: add --executor ray")
    return on_processes(jobs or 1)


def write_results(
    folders: Sequence[Path], out: Path, *, subject: str, metrics: str, num_boot: int
) -> dict[str, Any]:
    """Write the document of several benchmarks.

    Returns:
        Everything in it, see `remind.benchmark.pooled.pool`.

    Raises:
        InputError: a folder is no benchmark, or the subject has not all folds of a seed in it, or
            the document would take the place of another file.
    """
    if out.suffix.lower() != ".md":
        raise InputError(f"{out} must end in .md: the document is Markdown")
    check_place(out, "the document")
    if out.name == f"{RESULTS}.md" and BenchmarkFolder(out.parent).is_benchmark:
        raise InputError(f"{out} is the report of a benchmark: write the document elsewhere")
    names = _metrics(metrics, num_boot)
    result = pooled.pool(folders, subject=subject, metrics=names, num_boot=num_boot)
    words = ["results", *map(str, folders)]
    words += [] if subject == "default" else ["--subject", subject]
    words += [] if tuple(names) == METRICS_SHOWN else ["--metrics", ",".join(names)]
    words += [] if num_boot == NUM_BOOT else ["--num-boot", str(num_boot)]
    line = command([*words, "--out", str(out)])
    write_text(out, pooled.markdown(result, line))
    return result


def benchmark_text(result: Mapping[str, Any]) -> str:
    """The report for a terminal."""
    return tables.markdown(result)


def _metrics(text: str, num_boot: int) -> list[str]:
    if num_boot < 1:
        raise InputError(f"--num-boot must be at least 1, got {num_boot}")
    names = chosen(text, METRICS, "metric")
    if not names:
        raise InputError(f"--metrics names none (there are {', '.join(METRICS)})")
    return names
