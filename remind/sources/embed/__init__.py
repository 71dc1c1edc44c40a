"""EMBED, the Emory breast imaging data set: breast density from mammograms of four kinds.

Jeong et al., "The EMory BrEast imaging Dataset (EMBED)", Radiology: Artificial Intelligence 2023.
The open release has `tables/` (EMBED_OpenData_metadata.csv, a row per file, and
EMBED_OpenData_clinical.csv, a row per finding) and `images/cohort_1/…`. The modalities are
synthetic C-view and full-field digital (2D) images, each in the views CC and MLO.
"""

from pathlib import Path

from remind.errors import InputError, did_you_mean
from remind.sources.checks import check_seed
from remind.sources.embed.files import find_images, require_readable
from remind.sources.embed.published import counts, notes
from remind.sources.embed.tables import (
    ABSENT_FILES,
    CLINICAL,
    METADATA,
    MODALITIES,
    UNITS,
    choose_images,
    read_densities,
    read_images,
    write_tables,
)
from remind.sources.manifest import Manifest
from remind.sources.raw import RawTables

OPTIONS = ("root", "per", "memory", "threads", "seed")
TITLE = "EMBED"

COHORT = """\
# Breast density (A to D) from mammograms, a row per {unit}. Made by: remind prepare embed
[cohort]
name = "embed"
table = "patients.parquet"
id = "{unit}_id"
label = "density"
task = "multiclass"
group_by = "empi_anon"

[split]
val = 0.1
test = 0.2
seed = {seed}

# Every DICOM file is read once, when the cohort is first opened, and kept in the cache as an image
# of this size. For features of a network of yours, kept in the cache too, add to each modality
#   network = "densenet121"
#   weights = "/where/they/are.safetensors"
#   train = false
"""

MODALITY = """
[modalities.{name}]
kind = "image"
table = "{name}.parquet"
size = [224, 224]
crop = "content"
on_invalid = "missing"
"""


def write(
    folder: Path,
    *,
    root: Path,
    per: str = "exam",
    memory: float = 2.0,
    threads: int | None = None,
    seed: int = 0,
) -> Manifest:
    """Fill an empty folder with the cohort; the images stay where they are.

    Args:
        folder: that exists.
        root: of the release, holding `tables/` and `images/`; a mounted bucket does.
        per: what a row is: an "exam" (images of both sides) or a "breast" (of one).
        memory: limit of DuckDB in gigabytes.
        threads: of DuckDB; None takes all cores.
        seed: of the split by patients.

    Returns:
        What was done.

    Raises:
        InputError: an option is out of range, a table or column is not there, or no image is.
    """
    if per not in UNITS:
        hint = did_you_mean(per, UNITS)
        raise InputError(f'embed: --per must be exam or breast, got "{per}"{hint}')
    check_seed("embed", seed)
    options = {"root": str(root), "per": per, "memory": memory, "threads": threads, "seed": seed}
    manifest = Manifest(source="embed", unit=UNITS[per], options=options)
    raw = RawTables(root, folder, title=TITLE, memory_gb=memory, threads=threads)
    with raw as tables, tables.explained():
        flow, images = read_images(tables, per)
        flow += read_densities(tables)
        images |= find_images(tables)
        _require_some(tables, images)
        more, of_images = choose_images(tables)
        require_readable(tables)
        write_tables(tables, folder, per)
        manifest.counts = counts(tables, per, images | of_images)
        manifest.tables = tables.checksums()
    for what, num_left in flow + more:
        manifest.step(f"{UNITS[per]} {what}", num_left)
    _require_units(manifest, root)
    observed = manifest.counts["observed"]
    for name in MODALITIES:
        if not observed[name]:
            manifest.absent[name] = "no such image was found: it is no modality of the cohort"
    manifest.notes += notes(manifest, per)
    _write_toml(folder, per, seed, [name for name in MODALITIES if observed[name]])
    return manifest


def _require_some(tables: RawTables, images: dict[str, int]) -> None:
    """Raise an InputError if files are named and none of them is there: a wrong root."""
    if images["files sought"] and images["files absent"] == images["files sought"]:
        ((example,),) = tables.execute("SELECT min(tail) FROM sought")
        raise InputError(
            f"none of the {images['files sought']} images that {METADATA} names is below "
            f"{tables.root}, such as {example}: give --root the folder that holds images/, or "
            "mount the bucket there"
        )


def _require_units(manifest: Manifest, root: Path) -> None:
    step = manifest.emptied_by
    if step is not None:
        raise InputError(
            f"{root}: {METADATA} and {CLINICAL} hold no {step}: "
            "give --root a release whose tables belong together"
        )


def _write_toml(folder: Path, per: str, seed: int, modalities: list[str]) -> None:
    text = COHORT.format(unit=per, seed=seed)
    text += "".join(MODALITY.format(name=name) for name in modalities)
    (folder / "cohort.toml").write_text(text, encoding="utf-8")


__all__ = ["ABSENT_FILES", "OPTIONS", "write"]
