"""The command line: thin, no logic.

Exit status 0 done, 2 the user's input is wrong, 130 interrupted, 1 anything else.
"""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from remind.allocation import keep_pages
from remind.errors import INTERRUPTED, InputError, InputWarning

SHOW_WARNING = warnings.showwarning

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Group-robust learning on cohorts whose patients lack modalities.",
)

COHORT_HELP = "a cohort.toml, its folder, or a built-in cohort (support2, synthetic)"
CohortArgument = Annotated[str, typer.Argument(help=COHORT_HELP)]
RunArgument = Annotated[Path, typer.Argument(help="a run folder")]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object, nothing else")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="where the runs go; a demo there is replaced")] = Path(
        "runs/demo"
    ),
    seed: Annotated[int, typer.Option(help="fixes everything that is random")] = 0,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE")] = None,
) -> None:
    """Fit REMIND and gradient-boosted trees on the built-in cohort, and compare whom they serve."""
    from remind.commands.runs import run_demo

    run_demo(out, [f"seed={seed}", *(settings or [])], Console())


@app.command()
def prepare(
    source: Annotated[str, typer.Argument(help="what to prepare, as in toy-hospital")],
    out: Annotated[Path, typer.Option(help="the cohort folder to write, new or empty")],
    root: Annotated[Path | None, typer.Option(help="the folder of the raw files")] = None,
    task: Annotated[str | None, typer.Option(help="what to predict")] = None,
    window: Annotated[float | None, typer.Option(help="hours before the prediction")] = None,
    ed: Annotated[Path | None, typer.Option(help="MIMIC-IV-ED, if not below the root")] = None,
    note: Annotated[Path | None, typer.Option(help="MIMIC-IV-Note, if not below the root")] = None,
    cxr: Annotated[Path | None, typer.Option(help="the folder of MIMIC-CXR-JPG")] = None,
    ecg: Annotated[Path | None, typer.Option(help="the folder of MIMIC-IV-ECG")] = None,
    per: Annotated[str | None, typer.Option(help="embed: a row per exam or per breast")] = None,
    layout: Annotated[Path | None, typer.Option(help="eye: a TOML file that names tables")] = None,
    mask: Annotated[Path | None, typer.Option(help="a TOML file of what to hide at random")] = None,
    memory: Annotated[float | None, typer.Option(help="memory limit in gigabytes [2]")] = None,
    threads: Annotated[int | None, typer.Option(help="threads of DuckDB [all cores]")] = None,
    patients: Annotated[int | None, typer.Option(help="stays in the toy hospital [1000]")] = None,
    seed: Annotated[int | None, typer.Option(help="fixes everything that is random [0]")] = None,
) -> None:
    """Write a cohort folder from raw files: tables, cohort.toml, manifest.json."""
    from remind.commands.data import prepare_cohort

    options = {"root": root, "task": task, "window": window, "per": per, "layout": layout}
    options |= {"ed": ed, "note": note, "cxr": cxr, "ecg": ecg}
    options |= {"mask": mask, "memory": memory, "threads": threads}
    options |= {"patients": patients, "seed": seed}
    for line in prepare_cohort(source, out, **options):
        _say(line)


@app.command()
def reproduce(
    experiment: Annotated[str, typer.Argument(help="mimic-iv, embed, fprm, or a TOML file")],
    out: Annotated[Path, typer.Option(help="where everything goes; what is there is used")],
    root: Annotated[Path | None, typer.Option(help="the raw files, or a prepared cohort")] = None,
    ed: Annotated[Path | None, typer.Option(help="MIMIC-IV-ED, if not below the root")] = None,
    note: Annotated[Path | None, typer.Option(help="MIMIC-IV-Note, if not below the root")] = None,
    cxr: Annotated[Path | None, typer.Option(help="the folder of MIMIC-CXR-JPG")] = None,
    ecg: Annotated[Path | None, typer.Option(help="the folder of MIMIC-IV-ECG")] = None,
    layout: Annotated[Path | None, typer.Option(help="fprm: a TOML file that names tables")] = None,
    memory: Annotated[float | None, typer.Option(help="memory limit in gigabytes [2]")] = None,
    threads: Annotated[int | None, typer.Option(help="threads of DuckDB [all cores]")] = None,
    seeds: Annotated[int | None, typer.Option(help="how many [those of the experiment]")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="a setting that wins over the paper's"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Do an experiment of the paper: prepare, fit over seeds, compare with what was published."""
    from remind.reproduce import reproduce as run_experiment
    from remind.reproduce import reproduction_table
    from remind.training import make_progress

    given = {"ed": ed, "note": note, "cxr": cxr, "ecg": ecg, "layout": layout}
    given |= {"memory": memory, "threads": threads}
    result = run_experiment(
        experiment,
        root,
        out,
        seeds=seeds,
        overrides=settings or (),
        options={name: value for name, value in given.items() if value is not None},
        progress=make_progress,
        tell=_tell,
    )
    print(json.dumps(result) if as_json else reproduction_table(result))


@app.command()
def describe(
    cohort: CohortArgument,
    as_json: JsonOption = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="draw the combinations as an UpSet plot: .png, .svg, .pdf or .html",
        ),
    ] = None,
) -> None:
    """Show modalities, combinations, bands and the long tail of a cohort."""
    from remind.commands.data import describe_cohort
    from remind.terminal import description

    facts = describe_cohort(cohort, plot, _tell)
    _print(facts) if as_json else Console().print(description(facts))


@app.command()
def fit(
    cohort: CohortArgument,
    out: Annotated[Path, typer.Option(help="the run folder to write")],
    method: Annotated[
        str,
        typer.Option(
            help="default, paper, transformer, lightgbm, tabm, xgboost, catboost, early_fusion, "
            "late_fusion, low_rank, flex_moe, fuse_moe, shaspec, muse, m3care, mmformer, i2moe"
        ),
    ] = "default",
    objective: Annotated[
        str | None,
        typer.Option(
            help="erm, reweight, paper, group_dro, cvar, long_tail_dro, logit_adjustment, chi2, "
            "fair_batch, fair_mixup, jtt"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="fixes everything that is random")] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="a key of the run's config.toml"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue an interrupted run")] = False,
    devices: Annotated[int | None, typer.Option(help="processes on this host, one per GPU")] = None,
    nodes: Annotated[int, typer.Option(help="hosts; give each the same command")] = 1,
    rendezvous: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="where hosts meet [found under SLURM]")
    ] = None,
    restarts: Annotated[int, typer.Option(help="fresh starts when a process dies")] = 0,
) -> int:
    """Fit a method to a cohort and write a run folder."""
    from remind.methods import find_method
    from remind.terminal import fitted
    from remind.training import fit_run, make_progress, with_overrides
    from remind.training.launch import Launch, launch
    from remind.training.ranks import environment, is_first, joined, leave, num_restarts

    chosen = find_method(method)
    overrides = [f"seed={seed}", *(settings or [])]
    if objective is not None:
        overrides.insert(0, f"objective={objective}")
    chosen_settings = with_overrides(chosen.default_settings(), overrides)
    plan = Launch(devices=devices, nodes=nodes, rendezvous=rendezvous, restarts=restarts)
    if plan.is_to_start():
        return launch(plan, sys.argv[1:])
    with joined():
        run = fit_run(
            cohort,
            chosen,
            chosen_settings,
            out,
            resume=resume or num_restarts() > 0,
            progress=make_progress(f"fitting {method}"),
            tell=_tell,
        )
        if is_first():
            Console().print(fitted(run), soft_wrap=True)
    if environment() is not None:
        leave(0)
    return 0


@app.command()
def evaluate(
    run: RunArgument,
    split: Annotated[str, typer.Option(help="train, val or test")] = "test",
    as_json: JsonOption = False,
) -> None:
    """Measure how well a run serves common, rare and unseen combinations."""
    from remind.commands.runs import evaluate_run
    from remind.methods import METHODS
    from remind.terminal import evaluation as show
    from remind.training import open_run

    opened = open_run(run, METHODS)
    result = evaluate_run(opened, split)
    if as_json:
        _print(result)
    else:
        Console().print(show(result, opened.spec.cohort.label))


@app.command()
def predict(
    run: RunArgument,
    table: Annotated[str, typer.Argument(help="patients: the id and any modality columns")],
    out: Annotated[Path, typer.Option(help="where predictions go: .csv, .csv.gz or .parquet")],
) -> None:
    """Predict for a table of patients, whatever is observed in them."""
    from remind.commands.predict import predict_table, predicted_lines
    from remind.methods import METHODS
    from remind.training import open_run

    predicted = predict_table(open_run(run, METHODS), table, out)
    for line in predicted_lines(predicted):
        _tell(line)
    _say(
        f"{predicted.num_patients} patients predicted, {predicted.num_unseen} of them with a "
        f"combination that training never saw: {out}"
    )


@app.command()
def diagnose(
    run: RunArgument,
    split: Annotated[str, typer.Option(help="train, val or test")] = "test",
    parts: Annotated[
        str | None,
        typer.Option(help="some of them, as in long_tail,gradients [all]", metavar="A,B,…"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Explain whom a run serves and whom not, and why; kept in its folder for the report."""
    from remind.analyses.diagnose import diagnosis_lines
    from remind.commands.runs import diagnose_run
    from remind.methods import METHODS
    from remind.training import open_run

    chosen = None if parts is None else [part.strip() for part in parts.split(",")]
    result = diagnose_run(open_run(run, METHODS), split, chosen, _tell)
    if as_json:
        _print(result)
    else:
        for line in diagnosis_lines(result):
            _say(line)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="a run folder, and others to hold it against")],
    out: Annotated[Path | None, typer.Option(help="the page [report.html of the first]")] = None,
) -> None:
    """Write one self-contained page: whom the model serves, whom not, and why."""
    from remind.report import write_report

    _say(f"the report: {write_report(runs, out)}")


@app.command()
def serve(
    run: RunArgument,
    host: Annotated[str, typer.Option(help="name or address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one")] = 8000,
) -> None:
    """Predict patients over HTTP, and say where the model is out of its depth."""
    from remind.commands.serve import serve_run
    from remind.methods import METHODS
    from remind.training import open_run

    serve_run(open_run(run, METHODS), host, port, _tell)


@app.command()
def benchmark(
    out: Annotated[Path, typer.Option(help="the folder of the benchmark; what is there is used")],
    cohort: Annotated[str | None, typer.Argument(help=COHORT_HELP)] = None,
    methods: Annotated[str, typer.Option(help="names with commas")] = "default,lightgbm",
    objectives: Annotated[
        str | None,
        typer.Option(help="each with every method that takes one (default: the method's own)"),
    ] = None,
    seeds: Annotated[int, typer.Option(help="repetitions")] = 3,
    folds: Annotated[int, typer.Option(help="of each repetition")] = 5,
    split: Annotated[
        str, typer.Option(help="cross-validation, or combinations")
    ] = "cross-validation",
    hide: Annotated[
        str,
        typer.Option(help="modalities to predict without as well, each in turn, or auto"),
    ] = "",
    budget: Annotated[int, typer.Option(help="trials of each contender, the defaults first")] = 1,
    tune: Annotated[str, typer.Option(help="once, or per fold")] = "once",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="[NAME:]KEY=VALUE", help="for all, or for a contender"),
    ] = None,
    executor: Annotated[str, typer.Option(help="processes or ray")] = "processes",
    jobs: Annotated[
        int | None,
        typer.Option(help="fits side by side, one thread each (default: 1; ray: all cores)"),
    ] = None,
    address: Annotated[str | None, typer.Option(help="of a Ray cluster")] = None,
    reference: Annotated[
        str | None, typer.Option(help="to compare with (default: the first)")
    ] = None,
    edges: Annotated[
        str | None, typer.Option(help="sizes of combinations that cut blocks (default: 50,200)")
    ] = None,
    metrics: Annotated[str, typer.Option(help="ranks go by the first")] = "auroc,log_loss",
    num_boot: Annotated[int, typer.Option(help="bootstrap resamples of persons")] = 1000,
    report: Annotated[bool, typer.Option("--report", help="only show what is there")] = False,
    as_json: JsonOption = False,
) -> int:
    """Hold methods against each other on a cohort: one budget, the same folds, paired."""
    from remind.commands.benchmark import benchmark_text, do_benchmark

    options = {"methods": methods, "objectives": objectives, "seeds": seeds, "folds": folds}
    options |= {"split": split, "hide": hide, "budget": budget, "tune": tune}
    options |= {"sets": settings or []}
    options |= {"executor": executor, "jobs": jobs, "address": address, "edges": edges}
    options |= {"reference": reference, "metrics": metrics, "num_boot": num_boot}
    result, failed = do_benchmark(cohort, out, is_report=report, options=options, tell=_tell)
    print(json.dumps({**result, "errors": failed}) if as_json else benchmark_text(result))
    for sentence in failed:
        _tell(f"failed: {sentence}")
    return 1 if failed else 0


@app.command()
def results(
    folders: Annotated[list[Path], typer.Argument(help="folders of benchmarks")],
    out: Annotated[Path, typer.Option(help="the Markdown to write")],
    subject: Annotated[str, typer.Option(help="whom the others are held against")] = "default",
    metrics: Annotated[str, typer.Option(help="names with commas")] = "auroc,log_loss",
    num_boot: Annotated[int, typer.Option(help="bootstrap resamples of persons")] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Write one document of several benchmarks: tables, pooled differences, wins and losses."""
    from remind.commands.benchmark import write_results

    result = write_results(folders, out, subject=subject, metrics=metrics, num_boot=num_boot)
    if as_json:
        _print(result)
    else:
        _say(f"the results: {out}")


def main() -> None:
    """Run the command line."""
    # Threads that spin while they wait make an epoch many times as long beside other work, and one
    # in twelve shorter without. OpenMP reads it when it is loaded, with torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    keep_pages()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            status = app(standalone_mode=False)
    except InputError as error:
        _fail(str(error))
    except Exception as error:
        if not hasattr(error, "format_message"):  # not a usage error of the command line's parser
            raise
        _fail(error.format_message())  # pyright: ignore[reportAttributeAccessIssue]
    else:
        if status == INTERRUPTED:
            again = ": continue with --resume" if sys.argv[1:2] == ["fit"] else ""
            print(f"remind: interrupted{again}", file=sys.stderr)
        sys.exit(status if isinstance(status, int) else 0)


def _fail(sentence: str) -> None:
    _remark(sentence)
    sys.exit(2)


def _remark(sentence: str) -> None:
    print(f"remind: {' '.join(sentence.split())}", file=sys.stderr)


def _show_warning(message: Warning | str, category: type[Warning], *where: Any) -> None:
    """A warning about the user's input as an error is told, by the first of several ranks."""
    if not issubclass(category, InputWarning):
        SHOW_WARNING(message, category, *where)
    elif int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0))) == 0:
        _remark(str(message))


def _say(line: str) -> None:
    """A line on stdout, as it is: brackets in names and paths mean nothing."""
    Console().print(Text(line), soft_wrap=True)


def _tell(line: str) -> None:
    """The same on stderr."""
    Console(stderr=True).print(Text(line), soft_wrap=True)


def _print(result: dict[str, Any]) -> None:
    print(json.dumps(result, allow_nan=False))


if __name__ == "__main__":
    main()
