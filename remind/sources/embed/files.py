"""Which of the images are below the root.

The release names them as /mnt/NAS2/mammo/anon_dicom/cohort_1/…, where nobody else has them: what
counts is the path from cohort_1 on.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from remind.cohort.formats import FormatError
from remind.cohort.formats.dicom import read_dicom_image
from remind.errors import InputError
from remind.sources.raw import RawTables

FOLDERS = ("images", "")  # below the root, holding cohort_1, cohort_2
LOG = logging.getLogger(__name__)
AT_ONCE = 8192  # files
NUM_TRIED = 8  # files
NUM_THREADS = 16  # a mounted bucket answers slowly, but many at once


def find_images(tables: RawTables) -> dict[str, int]:
    """Make the tables `sought` (images of exams with a density) and `found` (tail, path).

    Returns:
        Counts of images.

    Raises:
        InputError: there is no folder of images.
    """
    tables.execute("""
        CREATE TABLE sought AS
        SELECT image.* FROM image JOIN density USING (exam)
        WHERE modality IS NOT NULL AND tail IS NOT NULL AND grade IS NOT NULL
        QUALIFY row_number() OVER (PARTITION BY tail ORDER BY exam, side, modality) = 1
    """)
    tables.execute("CREATE TABLE found (tail VARCHAR, path VARCHAR)")
    base = _images_folder(tables.root)
    LOG.info("looking for the images below %s", base)
    names = tables.connection.cursor().execute("SELECT tail FROM sought ORDER BY tail")
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        while rows := names.fetchmany(AT_ONCE):
            tails = [tail for (tail,) in rows]
            is_there = pool.map(lambda tail: (base / tail).is_file(), tails)
            here = [tail for tail, there in zip(tails, is_there, strict=True) if there]
            tables.insert("found", [(tail, str(base / tail)) for tail in here])
    given = """
        SELECT count(*) FROM image JOIN density USING (exam)
        WHERE modality IS NOT NULL AND tail IS NOT NULL AND grade IS NOT NULL
    """
    num_given, num_sought, num_found = map(
        tables.number,
        (given, "SELECT count(*) FROM sought", "SELECT count(*) FROM found"),
    )
    return {
        "listed twice": num_given - num_sought,
        "files sought": num_sought,
        "files absent": num_sought - num_found,
    }


def require_readable(tables: RawTables) -> None:
    """Read some of the images, so that a decoder that is not installed is said before hours pass.

    Raises:
        InputError: none of them can be read.
    """
    refused = ""
    for (path,) in tables.execute(f"SELECT path FROM chosen ORDER BY path LIMIT {NUM_TRIED}"):
        try:
            read_dicom_image(Path(path), is_windowed=True)
        except FormatError as error:
            refused = refused or f"{path} {error}"
        else:
            return
    if refused:
        raise InputError(refused)


def _images_folder(root: Path) -> Path:
    """The absolute folder that cohort_1 lies in."""
    for name in FOLDERS:
        folder = (root / name).absolute()
        if folder.is_dir() and any(folder.glob("cohort_*")):
            return folder
    raise InputError(
        f"{root} has no folder images/cohort_1: give --root the folder that holds images/ and "
        "tables/, or mount the bucket there"
    )
