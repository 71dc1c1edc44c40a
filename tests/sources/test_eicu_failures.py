"""eICU-CRD: what cannot be read and options out of range are one sentence."""

from pathlib import Path

import pytest

from remind.errors import InputError
from tests.sources.eicu_release import Release
from tests.sources.eicu_shared import copy_of, prepared, release_of


@pytest.fixture
def release(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Release:
    return copy_of(release_of(tmp_path_factory), tmp_path / "root")


def cut(release: Release, name: str) -> None:
    content = release.file(name).read_bytes()
    release.file(name).write_bytes(content[: len(content) // 2])


def rename(release: Release, name: str, old: str, new: str) -> None:
    release.tables[name] = release.tables[name].rename(columns={old: new})
    release.write(name)


@pytest.mark.parametrize(
    ("name", "break_it", "sentence"),
    [
        ("patient", lambda r: r.file("patient").unlink(), r"has no table patient \(\.csv\.gz,"),
        ("lab", lambda r: cut(r, "lab"), r"lab\.csv\.gz.*download the file again"),
        (
            "lab",
            lambda r: rename(r, "lab", "labresult", "labresults"),
            r'lab\.csv\.gz has no column "labresult"; did you mean "labresults"',
        ),
        (
            "medication",
            lambda r: rename(r, "medication", "drughiclseqno", "hicl"),
            r'medication\.csv\.gz has no column "drughiclseqno"',
        ),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    name: str, break_it: object, sentence: str, release: Release, tmp_path: Path
) -> None:
    for other in set(release.tables) - {"patient", name}:
        release.file(other).unlink()
    assert callable(break_it)
    break_it(release)
    with pytest.raises(InputError, match=sentence) as caught:
        prepared(release, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"task": "unit-mortalty"}, r"none of in-hospital-mortality, .*; did you mean"),
        ({"task": "length-of-stay:1"}, "stays longer than 1 days, which --window 24 hours knows"),
        ({"task": "length-of-stay:x"}, r'needs days, as in "length-of-stay:5"'),
        ({"task": "unit-mortality:2"}, 'takes nothing after a colon, got "2"'),
        ({"window": 0}, "--window must be above 0 hours, got 0"),
        ({"window": 1000}, "no stay is left at the step 'that last at least 1000 hours'"),
    ],
)
def test_options_out_of_range_are_one_sentence(
    options: dict[str, object], sentence: str, release: Release, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=sentence):
        prepared(release, tmp_path / "out", **options)
