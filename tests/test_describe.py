"""What `remind describe` shows: facts in words, what was invalid, combinations as a picture."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from remind.cohort import Cohort, Groups, describe, read_cohort, unnamed_positive
from remind.errors import InputError
from remind.pictures import NUM_SHOWN, upset_plot
from remind.sources import load_source
from remind.terminal import description, facts_in_words
from tests.cohort.make import TOML, small_frame, write_cohort, write_frame
from tests.commands import remind

MAGIC = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml", ".html": b"<!DOCTYPE html>"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"), n=300)


@pytest.fixture(scope="module")
def cohort(folder: Path) -> Cohort:
    return read_cohort(folder)


def shown(facts: dict[str, Any], width: int = 200) -> str:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(description(facts))
    return captured.get()


@pytest.mark.parametrize("suffix", MAGIC)
def test_a_picture_is_of_the_format_of_its_suffix_and_the_same_again(
    suffix: str, cohort: Cohort, tmp_path: Path
) -> None:
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    upset_plot(cohort, first)
    upset_plot(cohort, second)
    assert first.read_bytes().startswith(MAGIC[suffix])
    assert first.read_bytes() == second.read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_the_picture_shows_the_most_frequent_combinations_and_all_modalities(
    tmp_path: Path,
) -> None:
    cohort = load_source("synthetic", num_patients=2000, num_modalities=8)
    upset_plot(cohort, tmp_path / "u.html")
    page = (tmp_path / "u.html").read_text()
    groups = Groups.fit(cohort.present_NM[cohort.rows("train")], cohort.spec.modality_names)
    assert len(groups) > NUM_SHOWN
    texts = [part.split("</text>")[0].split(">")[-1] for part in page.split("<text")[1:]]
    counts = groups.counts_G[:NUM_SHOWN].tolist()
    assert [texts.count(f"{count:,}") for count in set(counts)] >= [1] * len(set(counts))
    assert all(texts.count(name) == 1 for name in cohort.spec.modality_names)
    present_NM = cohort.present_NM[cohort.rows("train")]
    share = np.isin(groups.ids(present_NM), np.arange(NUM_SHOWN)).mean()
    assert f"the {NUM_SHOWN} most frequent of {len(groups):,} combinations" in page
    assert f"{share:.0%} of {len(present_NM):,} training patients" in page


@pytest.mark.parametrize("suffix", MAGIC)
def test_only_a_picture_of_its_own_is_replaced(suffix: str, cohort: Cohort, tmp_path: Path) -> None:
    own, other = tmp_path / f"u{suffix}", tmp_path / f"x{suffix}"
    upset_plot(cohort, own)
    first = own.read_bytes()
    upset_plot(cohort, own)
    assert own.read_bytes() == first
    other.write_bytes(b"a patient's")
    with pytest.raises(InputError, match="is no picture of combinations, but maybe a patient's"):
        upset_plot(cohort, other)
    assert other.read_bytes() == b"a patient's"


def test_a_picture_that_cannot_be_is_one_sentence(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"u\.jpg must end in \.png, \.svg, \.pdf, \.html to be"):
        upset_plot(cohort, tmp_path / "u.jpg")
    with pytest.raises(InputError, match="absent is no folder: make it, or write elsewhere"):
        upset_plot(cohort, tmp_path / "absent" / "u.png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"needs matplotlib.*pip install 'remind-med\[plot\]'"):
        upset_plot(cohort, tmp_path / "u.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command_draws_and_describes(
    as_json: bool,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["describe", folder, "--plot", tmp_path / "u.svg"]
    assert remind(monkeypatch, *words, *(["--json"] if as_json else [])) == 0
    assert (tmp_path / "u.svg").exists()
    out = capsys.readouterr().out
    assert json.loads(out)["num_patients"] == 300 if as_json else "300 patients" in out


def test_the_long_tail_is_shown_from_both_ends(cohort: Cohort) -> None:
    facts = describe(cohort)
    text = shown(facts)
    assert f"Gini {facts['long_tail']['gini']:.2f}" in text
    assert f"worth {facts['long_tail']['effective_groups']:.1f} equally common ones" in text
    most, rarest = text.split("most frequent combinations")[1].split("rarest combinations")
    for part, key in ((most, "most_frequent"), (rarest, "rarest")):
        listed = [line.split()[0] for line in part.splitlines() if line.strip()[:1].isdigit()]
        assert listed == [str(group["n_train"]) for group in facts["groups"][key]]


@pytest.mark.parametrize(
    ("values", "key", "note"),
    [
        (["ja", "nein"], "", True),
        (["ja", "nein"], 'positive = "nein"\n', False),
        ([0, 1], "", False),
        ([False, True], "", False),
        (["a", "b", "c"], "", False),
    ],
)
def test_which_of_two_words_is_positive_is_said_unless_cohort_toml_does(
    values: list[Any], key: str, note: bool, tmp_path: Path
) -> None:
    frame = small_frame().assign(died=[values[i % len(values)] for i in range(60)])
    toml = TOML.replace("binary", "multiclass").replace("[split]", f"{key}[split]")
    cohort = read_cohort(write_frame(tmp_path, frame, toml=toml))
    said = (
        "the positive class is died = nein, the last in sorted order: if it is ja, add "
        f'positive = "ja" to [cohort] of {tmp_path / "cohort.toml"}'
    )
    assert unnamed_positive(cohort) == (said if note else None)
    facts = describe(cohort)
    names = [item["name"] for item in facts["classes"]]
    assert facts["positive"] == (names[1] if len(names) == 2 else None)
    assert (f"; positive: {names[1]})" in shown(facts)) == (len(names) == 2)


def test_what_is_in_a_modality_is_shown(cohort: Cohort) -> None:
    facts = describe(cohort)
    text = shown(facts, width=400)
    wards = facts["modalities"][0]["facts"]["columns"]["ward"]["frequent"]
    assert f"ward {', '.join(wards)}" in text
    assert set(wards) == {"icu", "surgery", "medicine"}
    assert "length 4; min -" in text


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"files": 1200, "per_patient": {"min": 1, "median": 1.0, "max": 3}},
         "files 1,200; per patient 1–3 (median 1)"),
        ({"type": {"png": 908, "dicom": 549}, "shape": {"64 x 64": 1457}},
         "type png (908), dicom (549); shape 64 x 64"),
        ({"record": [1, 64, 64], "rate_hz": 99.9999}, "record 1 x 64 x 64; rate hz 100"),
        ({"words": {"min": None, "median": None, "max": None}, "none": None, "empty": {}},
         "words none"),
        ({"per_patient": {"min": 2, "median": 2, "max": 2}}, "per patient 2"),
        ({"variables": {name: {"n": 1} for name in "abcdefg"}}, "variables a, b, c, d, e, 2 more"),
        ({"columns": {
            "hr": {"type": "numeric", "missing": 0.004, "min": 40.0, "median": 80.5, "max": 160.0},
            "sex": {"type": "categorical", "missing": 0, "num_categories": 3,
                    "frequent": {"f": 5, "m": 4}}}},
         "hr 40–160 (median 80.5), <1% missing; sex f, m, 1 more"),
    ],
)  # fmt: skip
def test_facts_of_any_kind_become_one_line(facts: dict[str, Any], words: str) -> None:
    assert facts_in_words(facts) == words


@pytest.mark.parametrize(
    ("num", "said", "tail"),
    [
        (1, "vitals: 1 invalid value counts as missing:", "row 0 is bad"),
        (12, "vitals: 12 invalid values count as missing:", "and 2 more (--json has all)"),
    ],
)
def test_invalid_values_are_counted_and_listed(
    num: int, said: str, tail: str, cohort: Cohort
) -> None:
    facts = describe(cohort)
    facts["modalities"][0]["invalid"] = [f"row {row} is bad" for row in range(num)]
    lines = [line.strip() for line in shown(facts).splitlines()]
    assert said in lines
    assert tail in lines
    assert sum("is bad" in line for line in lines) == min(num, 10)
