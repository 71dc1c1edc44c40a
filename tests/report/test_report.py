"""What the report says: figures of the files and no others, for any outcome and any name."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from remind.report import write_report
from remind.report.blocks import Finding
from remind.report.runs import read_runs
from remind.report.sections.verdicts import of_run
from tests.report.make import make_diagnosis, make_run

PARTS = (
    "calibration",
    "conformal",
    "gradients",
    "concept_shift",
    "routing",
    "group_weights",
    "attributable",
    "long_tail",
    "acquisition",
)
MANIFEST = {
    "source": "mimic_iv",
    "unit": "ICU stays",
    "version": "3.1",
    "options": {"window": 48},
    "flow": [
        {"step": "all stays", "num_left": 94458, "num_excluded": 0},
        {"step": "adult patients", "num_left": 81234, "num_excluded": 13224},
    ],
    "tables": {"icustays": {"path": "icu/icustays.csv.gz", "rows": 94458, "sha256": "ab" * 32}},
    "absent": {"note": "the modality note is never observed"},
    "notes": ["Units differ between sites."],
}


class Page(HTMLParser):
    """Tables by caption as rows of texts, and everything that is told or fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._into: list[str] | None = None
        self._rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "caption":
            self._into = [""]
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("th", "td"):
            self._rows[-1].append("")
            self._into = self._rows[-1]

    def handle_endtag(self, tag: str) -> None:
        if tag == "caption":
            assert self._into is not None
            self._rows = self.tables.setdefault(self._into[0], [])
        if tag in ("caption", "th", "td"):
            self._into = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] += data


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing, where only words and tables are looked at."""
    monkeypatch.setattr("remind.report.svg._drawn", lambda *_: '<svg viewBox="0 0 9 9"></svg>')


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def plain(root: Path) -> Path:
    return make_run(root / "plain", manifest=MANIFEST)


@pytest.fixture(scope="module")
def whole(root: Path) -> Path:
    return make_run(root / "whole", diagnosis=make_diagnosis())


@pytest.fixture(scope="module")
def other(root: Path) -> Path:
    return make_run(root / "other", method="lightgbm", noise=1.5)


@pytest.fixture(scope="module")
def whole_page(whole: Path) -> str:
    return write_report([whole]).read_text(encoding="utf-8")


def edited(folder: Path, source: Path, **changes: Any) -> Path:
    """A copy of a run whose evaluation differs."""
    folder.mkdir()
    for file in source.iterdir():
        if file.name not in ("report.html", "predictions.parquet"):
            (folder / file.name).write_bytes(file.read_bytes())
    evaluation = json.loads((folder / "evaluation.json").read_text())
    for key, value in changes.items():
        evaluation[key] = evaluation[key] | value
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    return folder


def test_figures_are_those_of_the_evaluation(plain: Path, quick: None) -> None:
    page = Page(write_report([plain]).read_text(encoding="utf-8"))
    evaluation = json.loads((plain / "evaluation.json").read_text())
    rows = {row[0]: row for row in page.tables["Bands"][1:]}
    for title, band in (("Everyone", "overall"), ("Head", "head"), ("Tail", "tail")):
        block = evaluation[band]
        low, high = block["ci"]["auroc"]
        assert rows[title][1] == f"{block['n']:,}"
        assert rows[title][2] == f"{block['auroc']:.3f} {low:.3f}–{high:.3f}"
        assert rows[title][3].startswith(f"{block['log_loss']:.3f} ")
    groups = page.tables["All combinations"][1:]
    assert [row[2] for row in groups] == [f"{g['n_train']:,}" for g in evaluation["groups"]]
    few = [row for row, g in zip(groups, evaluation["groups"], strict=True) if g["n"] < 20]
    assert few
    assert all(" " not in cell for row in few for cell in row[4:])


def test_the_positive_class_is_named_where_metrics_are_explained(whole_page: str) -> None:
    assert whole_page.count("F1 and AUPRC are of died = 1.") == 2
    assert "does one in ten have the outcome (died = 1)" in whole_page
    assert "classes 0 and 1; positive: 1" in whole_page


def test_it_needs_nothing_else_and_is_small(whole_page: str, whole: Path) -> None:
    tags = Page(whole_page).tags
    assert len(whole_page.encode()) < 3_000_000
    for tag, attrs in tags:
        assert tag not in ("img", "iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "xlink:href", "action"):
            target = attrs.get(name)
            assert target is None or target.startswith(("#", "data:,")), (tag, target)
        assert not any(name.startswith("on") for name in attrs)
    assert not re.search(r"url\((?!#)|@import", whole_page)
    assert write_report([whole], whole / "again.html").read_text("utf-8") == whole_page


def test_ids_are_distinct_and_what_points_to_them_finds_them(whole_page: str) -> None:
    tags = Page(whole_page).tags
    ids = [attrs["id"] for _, attrs in tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    named = [attrs.get("aria-labelledby") for _, attrs in tags]
    named += [attrs.get("aria-describedby") for _, attrs in tags]
    links = [attrs.get("href") or attrs.get("xlink:href") for _, attrs in tags]
    named += [link[1:] for link in links if link and link.startswith("#")]
    named += re.findall(r"url\(#([^)]*)\)", whole_page)
    assert {name for name in named if name} <= set(ids)


def test_names_of_users_are_text_and_never_markup(whole_page: str) -> None:
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in whole_page
    assert whole_page.count("<script>") == 1
    assert "alert(1)" not in whole_page[whole_page.rindex("<script>") :]
    assert "$codes$" in whole_page
    assert "ward &lt;1&gt;" in whole_page
    assert "ward <1>" not in whole_page


def test_every_part_of_a_diagnosis_is_drawn(whole_page: str) -> None:
    assert "as diagnosis.json has it" not in whole_page
    assert "remind diagnose" not in whole_page
    for title in (
        "Reliability of default by band",
        "Coverage of prediction sets, default",
        "Gradients by size after training, default",
        "Gradients of combinations with each other, default",
        "Excess loss of another combination",
        "Experts by combination, default",
        "Group weights by update, default",
        "The gap in log loss and its parts, default",
        "Size of combinations by rank",
        "Expected and realised gain, default",
    ):
        assert title in whole_page
    for verdict in (
        "No clear sign that rare combinations pull another way.",
        "No clear sign that combinations need functions of their own.",
        "Experts specialise by combination.",
        "The group weights: one-hot.",
        "No clear room for a better model in the tail.",
    ):
        assert verdict in whole_page


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_another_layout_is_a_table_of_its_scalars(
    tmp_path: Path, part: str, quick: None
) -> None:
    odd = {part: {"new": {"layout": [1.25, True]}}, "absent": {}}
    run = make_run(tmp_path / "run", diagnosis=odd, num=200)
    tables = Page(write_report([run]).read_text(encoding="utf-8")).tables
    found = [rows for caption, rows in tables.items() if "as diagnosis.json has it" in caption]
    assert [[row[:2] for row in rows[1:]] for rows in found] == [
        [["new.layout[0]", "1.25"], ["new.layout[1]", "yes"]]
    ]


def test_a_part_that_is_absent_says_why_or_how_to_make_it(
    tmp_path: Path, plain: Path, quick: None
) -> None:
    assert write_report([plain]).read_text("utf-8").count(f"remind diagnose {plain}") == len(PARTS)
    absent = {"absent": {"routing": "trees have no experts"}}
    run = make_run(tmp_path / "run", diagnosis=absent, num=200)
    text = write_report([run]).read_text("utf-8")
    assert "Routing of default is not shown: trees have no experts" in text
    assert text.count(f"remind diagnose {run}") == len(PARTS) - 1


def test_a_diagnosis_of_another_split_is_not_shown_as_that_of_the_evaluation(
    tmp_path: Path, quick: None
) -> None:
    diagnosis = {**make_diagnosis(), "split": "val"}
    run = make_run(tmp_path / "run", diagnosis=diagnosis, num=200)
    text = write_report([run]).read_text("utf-8")
    why = f"the diagnosis is of the split &#34;val&#34;: run remind diagnose {run} --split test"
    assert text.count(f"of default is not shown: {why}") == len(PARTS)
    (found,) = read_runs([run])
    assert not any(found.part(part) for part in PARTS)


def test_the_flow_of_the_cohort_is_that_of_its_manifest(
    plain: Path, whole_page: str, quick: None
) -> None:
    text = write_report([plain]).read_text("utf-8")
    assert re.search(r"81,234</span> <span>adult patients</span> <span[^>]*>−13,224", text)
    assert "note is absent: the modality note is never observed" in text
    assert "icu/icustays.csv.gz" in text
    assert "The cohort has no manifest.json" in whole_page


def test_two_runs_stand_side_by_side_with_paired_intervals(
    plain: Path, other: Path, quick: None
) -> None:
    page = write_report([plain, other], plain / "both.html").read_text("utf-8")
    head, *rows = Page(page).tables["Bands, default and lightgbm"]
    assert head[2:5] == ["AUROC, default", "AUROC, lightgbm", "AUROC, minus lightgbm"]
    files = [json.loads((run / "evaluation.json").read_text()) for run in (plain, other)]
    difference = files[0]["overall"]["auroc"] - files[1]["overall"]["auroc"]
    assert difference > 0.02
    assert re.fullmatch(rf"\+{difference:.3f} \+0\.\d{{3}} to \+0\.\d{{3}}", rows[0][4]), rows[0][4]
    assert "default against lightgbm: AUROC better and log loss better." in page
    swapped = write_report([other, plain], plain / "swapped.html").read_text("utf-8")
    assert "lightgbm against default: AUROC worse and log loss worse." in swapped


def test_differences_need_predictions_and_say_so(tmp_path: Path, plain: Path, quick: None) -> None:
    bare = make_run(tmp_path / "bare", method="tabm", with_predictions=False)
    page = write_report([plain, bare], tmp_path / "both.html").read_text("utf-8")
    assert f"remind evaluate {bare}" in page
    assert "minus tabm" not in page


def test_runs_of_one_method_are_told_apart_by_their_folders(
    tmp_path: Path, plain: Path, whole: Path, quick: None
) -> None:
    page = write_report([plain, whole], tmp_path / "both.html").read_text("utf-8")
    assert "<h1>default (plain) on ward &lt;1&gt; beside default (whole)</h1>" in page


@pytest.mark.parametrize(
    ("tail", "head", "verdict"),
    [
        ([0.6, 0.7], [0.8, 0.9], "Rare combinations are served worse than common ones."),
        ([0.92, 0.99], [0.8, 0.9], "Rare combinations are served better than common ones."),
        ([0.6, 0.85], [0.8, 0.9], "No clear difference between rare and common combinations."),
        (None, [0.8, 0.9], "Whether rare combinations are served worse cannot be said."),
    ],
)
def test_the_verdict_follows_from_the_intervals(
    tmp_path: Path, plain: Path, tail: Any, head: Any, verdict: str
) -> None:
    run = edited(
        tmp_path / "run",
        plain,
        tail={"auroc": 0.7, "ci": {"auroc": tail, "log_loss": None}},
        head={"auroc": 0.85, "ci": {"auroc": head, "log_loss": None}},
    )
    assert of_run(read_runs([run])[0])[1].verdict == verdict


def test_bands_without_patients_or_outcomes_are_undefined_and_never_zero(
    tmp_path: Path, plain: Path, quick: None
) -> None:
    nothing = dict.fromkeys(
        ("auroc", "auprc", "accuracy", "f1", "f1_macro", "log_loss", "brier", "ece")
    )
    empty = {"n": 0, **nothing, "ci": nothing}
    run = edited(tmp_path / "run", plain, tail=empty, unseen=empty, overall={"auroc": None})
    page = Page(text := write_report([run]).read_text("utf-8"))
    rows = {row[0]: row for row in page.tables["Bands"][1:]}
    assert rows["Tail"][1:] == ["0", *["–"] * 4]
    assert "nobody is in the tail" in text
    assert "Nobody was evaluated in: tail and unseen." in text
    assert isinstance(of_run(read_runs([run])[0])[0], Finding)


def test_thousands_of_combinations_stay_under_three_megabytes(
    tmp_path: Path, whole: Path, quick: None
) -> None:
    run = edited(tmp_path / "run", whole)
    evaluation = json.loads((run / "evaluation.json").read_text())
    template = evaluation["groups"][0]
    names = ["+".join(f"modality {(7 * g + m) % 997}" for m in range(30)) for g in range(5000)]
    evaluation["groups"] = [{**template, "group": name} for name in names]
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    diagnosis = json.loads((run / "diagnosis.json").read_text())
    block = diagnosis["gradients"]["trained"]
    block["groups"] = [{**block["groups"][0], "group": name} for name in names]
    (run / "diagnosis.json").write_text(json.dumps(diagnosis))
    path = write_report([run])
    assert path.stat().st_size < 2_000_000
    assert "The 400 most common in training of 5,000" in path.read_text("utf-8")


def test_no_number_lacks_its_interval_when_there_is_one(whole_page: str) -> None:
    start = whole_page.index('<ul class="sentences">')
    text = re.sub(r"<[^>]*>", "", whole_page[start : whole_page.index("</ul>", start)])
    for figure in re.findall(r"(?:AUROC|log loss|error|coverage) (?:is|of) ([\d.]+%?)(.)(.)", text):
        assert figure[1:] == (" ", "("), figure


def test_no_torch_is_loaded(plain: Path) -> None:
    code = (
        "import sys, remind.report.svg as svg; from remind.report import write_report; "
        "svg._drawn = lambda *_: '<svg viewBox=\"0 0 9 9\"></svg>'; "
        f"write_report([{str(plain)!r}], {str(plain / 'bare.html')!r}); "
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_pictures_take_their_colors_from_the_page(whole_page: str) -> None:
    pictures = re.findall(r"<svg .*?</svg>", whole_page, flags=re.DOTALL)
    assert len(pictures) >= 15
    for picture in pictures:
        assert re.match(r'<svg [^>]*role="img"[^>]*><title [^>]*>[^<]+</title><desc ', picture)
        assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", picture)) <= {
            "none",
            *(f"var(--{name})" for name in np.unique(re.findall(r"--([a-z]+):", whole_page))),
        }
