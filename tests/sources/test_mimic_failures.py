"""MIMIC-IV files that are broken, a disk that is full, a kill: one sentence, no half cohort."""

import gzip
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from remind.errors import InputError
from remind.sources.prepare import prepare
from tests.commands import remind
from tests.sources.mimic_release import Release
from tests.sources.mimic_shared import (
    copy_of,
    features,
    main_table,
    plain_cohort,
    prepared,
    release_of,
)

WAIT_SECONDS = 120


@pytest.fixture
def release(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Release:
    return copy_of(release_of(tmp_path_factory, 20), tmp_path / "release")


def refused(
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *options: object,
) -> str:
    """What the command says when it refuses: status 2, one sentence, and nothing is left behind.

    Before it there is progress only: what was being read.
    """
    beside = sorted(out.parent.iterdir())
    arguments = ("--out", out, "--threads", 1, *options)
    assert remind(monkeypatch, "prepare", "mimic-iv", *arguments) == 2
    assert sorted(out.parent.iterdir()) == beside
    told = capsys.readouterr()
    assert told.out == ""
    *progress, sentence = told.err.splitlines()
    assert all(line.startswith("reading ") for line in progress)
    return sentence


def remove(release: Release, table: str) -> None:
    release.file(table).unlink()


def truncate(release: Release, table: str) -> None:
    file = release.file(table)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def rename(release: Release, table: str, old: str, new: str) -> None:
    release.write(table, release.tables[table].rename(columns={old: new}))


def spoil(release: Release, table: str, column: str, word: str) -> None:
    """Put a word where a time or a number belongs."""
    frame = release.tables[table].astype({column: "string"})
    frame.loc[frame.index[3], column] = word
    release.write(table, frame)


@pytest.mark.parametrize(
    ("damage", "arguments", "said"),
    [
        (remove, ("icu/icustays",), ("no table icu/icustays", "--root must be")),
        (remove, ("hosp/patients",), ("no table hosp/patients", "--root must be")),
        (rename, ("hosp/labevents", "valuenum", "value_num"), ('no column "valuenum"',)),
        (rename, ("icu/icustays", "intime", "in_time"), ('did you mean "in_time"',)),
        (rename, ("icu/icustays", "los", "INTIME"), ('"intime" and "INTIME": rename or',)),
        (truncate, ("hosp/labevents",), ("download the file again",)),
        (truncate, ("icu/chartevents",), ("download the file again",)),
        (truncate, ("hosp/admissions",), ("download the file again",)),
        (spoil, ("icu/chartevents", "charttime", "yesterday"), ("yesterday", "mend the row")),
        (spoil, ("icu/icustays", "stay_id", "3x"), ("3x", "mend the row")),
    ],
)
def test_a_broken_table_is_one_sentence_that_names_its_file(
    damage,
    arguments: tuple[str, ...],
    said: tuple[str, ...],
    release: Release,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(release, *arguments)
    sentence = refused(tmp_path / "out", monkeypatch, capsys, "--root", release.root)
    for part in said:
        assert part in sentence
    where = release.root if damage is remove else release.file(arguments[0])
    assert str(where) in sentence


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task": "mortality-60d"}, 'did you mean "mortality-90d"'),
        ({"window": 0.0}, "window must be above 0"),
        ({"memory": -1.0}, "memory must be above 0"),
        ({"threads": 0}, "--threads must be at least 1, got 0"),
        ({"note": Path("nowhere")}, "nowhere is no folder"),
        ({"window": 4000.0}, "no stay is left"),
    ],
)
def test_an_option_out_of_range_is_refused(
    options: dict[str, object], said: str, release: Release, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        prepared(release, tmp_path / "out", modules=False, **options)
    assert not (tmp_path / "out").exists()


def test_a_module_that_is_named_must_be_there(release: Release, tmp_path: Path) -> None:
    (release.note / "note" / "radiology.csv.gz").unlink()
    with pytest.raises(InputError, match=r"has no table radiology .* --note must be the folder"):
        prepared(release, tmp_path / "out")


def test_an_empty_table_is_a_modality_that_nobody_has(release: Release, tmp_path: Path) -> None:
    for table in ("icu/outputevents", "hosp/microbiologyevents"):
        with gzip.open(release.file(table), "wt") as file:
            file.write(",".join(release.tables[table].columns) + "\n")
    manifest = prepared(release, tmp_path / "out", modules=False)
    assert {"outputs", "microbiology"} <= set(manifest.absent)
    assert not {"outputs.parquet", "microbiology.parquet"} & set(os.listdir(tmp_path / "out"))


@pytest.fixture(params=[8, 24, 100], ids=lambda size: f"{size} kB")
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A disk that is full at the start, at the first table, in the middle; root may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={request.param}k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here: that needs root and mount(8)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_and_nothing_stays_on_it(
    release: Release,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = small_disk / "out"
    sentence = refused(out, monkeypatch, capsys, "--root", release.root)
    assert f"no space is left on the disk of {small_disk}" in sentence
    assert "write --out elsewhere" in sentence


def test_a_kill_leaves_no_cohort_and_a_rerun_makes_the_whole(
    release: Release, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """SIGKILL once the first tables are there; the rerun is what an undisturbed run is."""
    out = tmp_path / "here" / "out"
    code = (
        "from remind.sources.prepare import prepare; from pathlib import Path; "
        f"prepare('mimic-iv', {str(out)!r}, root=Path({str(release.root)!r}), threads=1)"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    unfinished = out.parent / ".out.unfinished"
    deadline = time.monotonic() + WAIT_SECONDS
    while not list(unfinished.glob("*.parquet")):
        assert child.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not out.exists()
    assert unfinished.exists()
    prepared(release, out, modules=False)
    assert os.listdir(out.parent) == ["out"]
    whole, _ = plain_cohort(tmp_path_factory)
    assert features(out, "died_in_hospital") == features(whole, "died_in_hospital")
    assert len(main_table(out)) > 10


def test_memory_and_threads_reach_duckdb(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[pd.DataFrame] = []
    connect = duckdb.connect

    def watched(*arguments: object, **options: object) -> duckdb.DuckDBPyConnection:
        connection = connect(*arguments, **options)  # pyright: ignore[reportArgumentType]
        query = (
            "SELECT name, value FROM duckdb_settings() WHERE name IN ('memory_limit', 'threads')"
        )
        asked.append(connection.execute(query).df().set_index("name")["value"])
        return connection

    monkeypatch.setattr(duckdb, "connect", watched)
    prepare("mimic-iv", tmp_path / "out", root=release.root, memory=0.25, threads=1)
    assert [one.to_dict() for one in asked] == [{"memory_limit": "238.4 MiB", "threads": "1"}]


def test_too_little_memory_is_said(
    release: Release,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("--root", release.root, "--memory", "0.001")
    sentence = refused(tmp_path / "out", monkeypatch, capsys, *options)
    assert "the memory limit is too small" in sentence
    assert "raise --memory" in sentence
