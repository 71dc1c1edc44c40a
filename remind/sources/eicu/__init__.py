"""eICU Collaborative Research Database 2.0, and its open demo: adults in intensive care.

Pollard et al., "The eICU Collaborative Research Database, a freely available multi-center database
for critical care research", Scientific Data 2018. A row is the first unit stay of a hospital stay.
What is predicted is in `tasks`, for whom and from when to when rows are read in `stays`, what a
number means in quantities.csv. The tables of APACHE are left out: apachePatientResult holds
outcomes and what another model predicts, and none of them says when its values became known.
"""

from pathlib import Path

from remind.sources.checks import check_seed, require_stays
from remind.sources.eicu.events import write_codes, write_notes
from remind.sources.eicu.folder import write_main_table, write_toml
from remind.sources.eicu.measurements import write_measurements
from remind.sources.eicu.release import TITLE, open_release, version_of
from remind.sources.eicu.stays import make_units
from remind.sources.eicu.tasks import find_task
from remind.sources.limits import load_rules, series_section, units_of
from remind.sources.manifest import Manifest
from remind.sources.raw import RawTables

OPTIONS = ("root", "task", "window", "memory", "threads", "seed")
NOTES = (
    "left out: apacheApsVar, apachePredVar and apachePatientResult (outcomes, predictions of "
    "another model, values without a time), and all that says what is so at discharge",
    "left out: results of cultures, for microLab does not say when they came; the sites count",
    "vitalPeriodic is read as means of each hour of the stay",
    "an order counts from when it was made, whether it was cancelled later or not",
)


def write(
    folder: Path,
    *,
    root: Path,
    task: str = "in-hospital-mortality",
    window: float = 24,
    memory: float = 2.0,
    threads: int | None = None,
    seed: int = 0,
) -> Manifest:
    """Fill an empty folder with the cohort.

    Args:
        folder: that exists.
        root: of the release, holding patient.csv.gz and the other tables.
        task: see `tasks`.
        window: hours of the unit stay before the prediction.
        memory: limit of DuckDB in gigabytes.
        threads: of DuckDB; None takes all cores.
        seed: of the split by persons.

    Returns:
        What was done.

    Raises:
        InputError: an option is out of range, a table or column is not there or cannot be read, or
            nobody is left.
    """
    chosen = find_task(task, window)
    check_seed("eicu", seed)
    options = {"root": str(root), "task": task, "window": window, "memory": memory}
    options |= {"threads": threads, "seed": seed}
    manifest = Manifest(source="eicu", unit="unit stays", version=version_of(root), options=options)
    rules = load_rules("remind.sources.eicu")
    with RawTables(root, folder, title=TITLE, memory_gb=memory, threads=threads) as tables:
        release = open_release(tables, manifest)
        with tables.explained():
            make_units(release, chosen, window)
            require_stays(manifest, root)
            sections = write_main_table(release, rules, chosen, folder)
            for name in write_measurements(release, rules, folder):
                sections[name] = series_section(name)
            sections |= write_codes(release, folder)
            sections |= write_notes(release, folder)
        manifest.tables = tables.checksums()
    manifest.counts["units"] = dict(units_of(rules))
    manifest.code_lists["quantities"] = "remind/sources/eicu/quantities.csv"
    manifest.notes = [chosen.meaning, *NOTES]
    write_toml(folder, chosen, seed, sections)
    return manifest


__all__ = ["OPTIONS", "write"]
