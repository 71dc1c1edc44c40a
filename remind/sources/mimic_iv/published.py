"""What was published of such cohorts, beside what is counted here, and what a reader must know."""

from typing import Any

from remind.sources.manifest import Manifest
from remind.sources.mimic_iv.release import Release
from remind.sources.mimic_iv.tasks import Task

# Han et al., "FuseMoE", NeurIPS 2024: in-hospital mortality at 48 hours
FUSEMOE_TASK, FUSEMOE_HOURS = "in-hospital-mortality", 48
FUSEMOE = {
    "stays": 35_129,
    "with text": 32_038,
    "with a chest X-ray": 8_781,
    "with an ECG": 18_271,
    "with all three": 8_770,
}
SEEN = {
    "with text": ("radiology",),
    "with a chest X-ray": ("chest_xray", "chest_xray_findings"),
    "with an ECG": ("ecg_waveform", "ecg_measurements"),
}


def compare(
    release: Release, task: Task, window: float, sections: dict[str, dict[str, Any]]
) -> None:
    """Count stays by what is observed of them, beside the published numbers, into the manifest."""
    tables = release.tables
    tables.execute("CREATE TABLE sighted (what VARCHAR, stay_id BIGINT)")
    for what, modalities in SEEN.items():
        for name in modalities:
            if name in sections:
                tables.execute(f"INSERT INTO sighted SELECT '{what}', stay_id FROM {_where(name)}")
    num = dict(tables.execute("SELECT what, count(DISTINCT stay_id) FROM sighted GROUP BY what"))
    num["stays"] = tables.number("SELECT count(*) FROM unit")
    num["with all three"] = tables.number(
        "SELECT count(*) FROM (FROM sighted SELECT stay_id GROUP BY stay_id"
        f" HAVING count(DISTINCT what) = {len(SEEN)})"
    )
    is_same = (task.name, window) == (FUSEMOE_TASK, FUSEMOE_HOURS)
    release.manifest.counts["stays"] = {
        what: {"n": num.get(what, 0), **({"published": number} if is_same else {})}
        for what, number in FUSEMOE.items()
    }


def notes(manifest: Manifest, task: Task, window: float) -> list[str]:
    """What a reader must know, a sentence each."""
    counts = manifest.counts["stays"]
    published = "published" in counts["stays"]
    numbers = ", ".join(
        f"{what} {item['n']:,}" + (f" ({item['published']:,})" if published else "")
        for what, item in counts.items()
    )
    lines = [numbers + ("; in brackets FuseMoE's, for the same task" if published else "")]
    lines.append(task.meaning)
    if task.moment == "window":
        lines.append(
            f"the prediction is made {window:g} hours into the ICU stay; rows are read from the "
            "arrival at the hospital on"
        )
    else:
        lines.append(
            "the prediction is made at discharge from the hospital, of survivors; series are read "
            f"from {window:g} hours before the end of the ICU stay on"
        )
    return [*lines, *_fates(manifest)]


def _fates(manifest: Manifest) -> list[str]:
    """How many measurements were kept and left out, by reason."""
    total: dict[str, int] = {}
    for fates in manifest.counts.get("quantities", {}).values():
        for fate, number in fates.items():
            total[fate] = total.get(fate, 0) + number
    if not total:
        return []
    parts = ", ".join(f"{number:,} {fate}" for fate, number in total.items())
    return [f"measurements: {parts}; manifest.json has them by quantity"]


def _where(name: str) -> str:
    """SQL of a table whose rows are the stays with a modality."""
    return {
        "radiology": "report",
        "chest_xray": "image",
        "chest_xray_findings": "wide_cxr",
        "ecg_waveform": "record",
        "ecg_measurements": "wide_ecg_machine_measurements",
    }[name]
