"""Model card (Mitchell et al. 2019): intended use, training cohort, performance, limits."""

from collections.abc import Sequence

from remind.evaluation.table import ROWS
from remind.report.blocks import Cell, Column, Facts, Heading, Points, Section, Table, numbers
from remind.report.runs import ReportedRun
from remind.report.sections.bands import BAND_WORDS, TITLES, metric_cell
from remind.report.words import count, joined, patients, percent, plural

FIGURES = ("auroc", "auprc", "log_loss", "brier", "ece")
MIN_PATIENTS = 20


def card_section(runs: Sequence[ReportedRun]) -> Section:
    """Of the first run."""
    run = runs[0]
    return Section(
        id="card",
        title="Model card",
        lead=f"What {run.label} is for, what it learned from, and where not to rely on it.",
        blocks=[
            Facts(_facts(run)),
            _performance(run),
            Heading("Limits"),
            Points(_limits(run)),
        ],
    )


def _facts(run: ReportedRun) -> list[tuple[str, str]]:
    cohort, evaluation = run.spec["cohort"], run.evaluation
    counts_G = run.groups.counts_G
    positive = "" if run.positive is None else f"; positive: {run.classes[-1]}"
    return [
        ("Model", f"method {evaluation['method']}, objective {run.settings.get('objective', '–')}"),
        (
            "Intended use",
            "Research on patients who lack modalities. It estimates the probability of each class "
            f"of {cohort['label']} for patients like those of {evaluation['cohort']}, from "
            f"whichever of {len(run.modalities)} modalities are observed.",
        ),
        (
            "Not for",
            "The care of a patient: it is no medical device, and no prospective study was done.",
        ),
        ("Label", f"{cohort['label']} ({cohort['task']}), classes {joined(run.classes)}{positive}"),
        (
            "Training cohort",
            f"{patients(int(counts_G.sum()))} of {evaluation['cohort']} in "
            f"{plural(len(counts_G), 'combination')} of modalities",
        ),
        (
            "Evaluated on",
            f"{patients(evaluation['n'])} of the split {evaluation['split']}{_mix(run)}",
        ),
        ("Modalities", joined(run.modalities)),
    ]


def _mix(run: ReportedRun) -> str:
    """Shares of the classes among the evaluated patients, where their predictions are kept."""
    if run.predictions is None:
        return ""
    share = run.predictions["label"].astype(str).value_counts(normalize=True)
    return f"; {joined([f'{name}: {percent(share.get(name, 0.0))}' for name in run.classes])}"


def _performance(run: ReportedRun) -> Table:
    rows = [
        [
            Cell(BAND_WORDS[row], float(at)),
            numbers(count(run.evaluation[row]["n"]), run.evaluation[row]["n"]),
            *(metric_cell(run.evaluation[row], metric) for metric in FIGURES),
        ]
        for at, row in enumerate(ROWS)
    ]
    columns = [Column("Band", is_number=False), Column("Patients")]
    columns += [Column(TITLES[metric]) for metric in FIGURES]
    return Table(caption=f"Performance of {run.label} by band", columns=columns, rows=rows)


def _limits(run: ReportedRun) -> list[str]:
    evaluation = run.evaluation
    groups = evaluation["groups"]
    small = sum(group["n"] < MIN_PATIENTS for group in groups)
    without = [
        BAND_WORDS[row].lower()
        for row in ROWS
        if evaluation[row]["n"] and not (evaluation[row]["ci"] or {}).get("auroc")
    ]
    empty = [BAND_WORDS[row].lower() for row in ROWS if not evaluation[row]["n"]]
    limits = [
        f"It was evaluated on patients of the same cohort, {evaluation['cohort']}: how it does "
        "elsewhere, or in later years, is not known.",
        f"{small} of {plural(len(groups), 'combination')} have fewer than {MIN_PATIENTS} evaluated "
        "patients; figures of these say little.",
    ]
    if without:
        limits.append(f"AUROC has no interval for: {joined(without)}. Do not rely on it there.")
    if empty:
        limits.append(f"Nobody was evaluated in: {joined(empty)}. Nothing is known there.")
    limits.append(
        "Groups are combinations of modalities. Whether sexes, ages or origins are served alike "
        "was not examined."
    )
    if not run.diagnosis:
        limits.append("The run was not diagnosed: why it fails whom it fails is not known.")
    return limits
