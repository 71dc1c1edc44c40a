"""What was published of the EMBED density cohort, beside what is counted here."""

from typing import Any

from remind.sources.embed.tables import ABSENT_FILES, CHOICE, MODALITIES, UNITS
from remind.sources.manifest import Manifest
from remind.sources.raw import RawTables

# Of the open release, by notes on the paper (arXiv:2603.00046) and its authors' earlier code.
NUM_UNITS = {"exam": 72_770, "breast": 128_680}
NUM_IMAGES = 480_323
CLASS_PERCENT = {"A": "9.9", "B": "41.9", "C": "42.8", "D": "5.4"}
COMBINATION_PERCENT = {
    "ffdm_cc+ffdm_mlo": "57",
    "+".join(MODALITIES): "37 to 42",
    "ffdm_cc": "1 to 3",
    "ffdm_mlo": "0.4 to 1.2",
}
OTHER_PERCENT = "at most 0.6"


def counts(tables: RawTables, per: str, images: dict[str, int]) -> dict[str, Any]:
    """Units, classes, combinations and images of the cohort, each beside what was published."""
    num = tables.number("SELECT count(*) FROM unit")
    classes = dict(tables.execute("SELECT density, count(*) FROM unit GROUP BY density"))
    combinations = tables.execute("""
        WITH observed AS (
            SELECT string_agg(DISTINCT modality, '+' ORDER BY modality) AS combination
            FROM chosen GROUP BY unit
        )
        SELECT combination, count(*) AS n FROM observed GROUP BY ALL ORDER BY n DESC, combination
    """)
    query = "SELECT modality, count(DISTINCT unit) FROM chosen GROUP BY modality"
    observed = dict(tables.execute(query))
    disputed = (
        "SELECT count(*) FROM density WHERE is_disputed AND exam IN (FROM chosen SELECT exam)"
    )
    return {
        UNITS[per]: {"n": num, "published": NUM_UNITS[per]},
        "images": {**images, "rows published": NUM_IMAGES},
        "classes": {
            name: _share(classes.get(name, 0), num, percent)
            for name, percent in CLASS_PERCENT.items()
        },
        "combinations": {
            name: _share(n, num, COMBINATION_PERCENT.get(name, OTHER_PERCENT))
            for name, n in combinations
        },
        "observed": {name: observed.get(name, 0) for name in MODALITIES},
        "exams whose rows disagree on density": tables.number(disputed),
    }


def notes(manifest: Manifest, per: str) -> list[str]:
    """The counts in words, and what a reader must know."""
    found = manifest.counts
    num, images = found[UNITS[per]]["n"], found["images"]
    lines = [
        f"{num:,} {UNITS[per]} here, {NUM_UNITS[per]:,} published",
        _in_words("density", found["classes"]),
        _in_words("combinations", found["combinations"]),
        CHOICE + f" ({images['further images of a view']:,} others are left out)",
        "the rows of an exam that disagree on its density count as the densest of them "
        f"({found['exams whose rows disagree on density']:,} exams)",
    ]
    if images["files absent"]:
        lines.append(
            "images that are not below the root, which count as unobserved: "
            f"{images['files absent']:,} of {images['files sought']:,} ({ABSENT_FILES} lists them)"
        )
    return [
        *lines,
        "every image is read once, when the cohort is first opened, and kept in the cache; "
        "a run that was stopped goes on where it was",
        "the use agreement of EMBED forbids sharing images, indices, embeddings and weights: keep "
        "this folder, the cache and runs to yourself",
    ]


def _share(n: int, num: int, published: str) -> dict[str, Any]:
    return {"n": n, "percent": round(100 * n / num, 1) if num else None, "published": published}


def _in_words(what: str, found: dict[str, dict[str, Any]]) -> str:
    parts = [
        f"{name} {item['n']:,} = {item['percent']} % ({item['published']})"
        for name, item in found.items()
    ]
    return f"{what}, with the published percentages: {', '.join(parts)}"
