"""What people see: the band table, its Markdown, and the picture."""

import sys

import pytest
from rich.console import Console

from remind.errors import InputError
from remind.evaluation import band_plot, band_table, evaluate, markdown


@pytest.fixture
def evaluations(make, limits):
    """Two methods, and a band (unseen) in which nobody died."""
    frames = {name: make(120, noise=noise) for name, noise in (("default", 0.0), ("lightgbm", 0.5))}
    return {
        name: evaluate(
            frame.assign(method=name, label=frame["label"].where(frame["band"] != "unseen", "0")),
            cohort="icu",
            bands=limits,
            num_boot=30,
        )
        for name, frame in frames.items()
    }


def three(value):
    return f"{value:.3f}".removeprefix("0")


def test_the_terminal_table_shows_both_methods_in_80_columns(evaluations):
    console = Console(width=80)
    with console.capture() as captured:
        console.print(band_table(evaluations))
    lines = captured.get().splitlines()
    assert "…" not in captured.get()
    assert max(len(line.rstrip()) for line in lines) <= 80
    rows = {line.split()[0]: line.split() for line in lines if line.split()}
    for name in ("overall", "head", "medium", "tail"):
        blocks = [evaluation[name] for evaluation in evaluations.values()]
        figures = [three(b[m]) for b in blocks for m in ("auroc", "log_loss", "f1", "accuracy")]
        assert rows[name] == [name, str(blocks[0]["n"]), *figures]
    bounds = evaluations["lightgbm"]["overall"]["ci"]["auroc"]
    assert "–".join(three(bound) for bound in bounds) in captured.get()
    assert rows["unseen"][2] == "–"


def test_markdown_is_one_line_per_band(evaluations):
    lines = markdown(evaluations).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(row) for row in cells}) == 1
    assert cells[0][:4] == ["", "n", "default AUROC", "default log loss"]
    assert [row[0] for row in cells[2:]] == ["overall", "head", "medium", "tail", "unseen"]
    low, high = evaluations["default"]["overall"]["ci"]["auroc"]
    value = evaluations["default"]["overall"]["auroc"]
    assert cells[2][2] == f"{three(value)} ({three(low)}–{three(high)})"
    told = evaluations["lightgbm"]["head"]
    low, high = told["ci"]["log_loss"]
    assert cells[3][7] == f"{three(told['log_loss'])} ({three(low)}–{three(high)})"
    assert cells[-1][2] == "–"


def test_methods_judged_on_other_patients_are_not_shown_together(evaluations, make, limits):
    other = evaluate(make(60), cohort="icu", bands=limits, num_boot=5)
    for show in (band_table, markdown):
        with pytest.raises(InputError, match="overall has default: 120, other: 60"):
            show({"default": evaluations["default"], "other": other})
        with pytest.raises(InputError, match="give at least one method"):
            show({})


@pytest.mark.parametrize(("name", "magic"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml")])
def test_the_picture_is_whole_and_repeatable(evaluations, tmp_path, name, magic):
    pytest.importorskip("matplotlib")
    band_plot(evaluations, tmp_path / name)
    first = (tmp_path / name).read_bytes()
    band_plot(evaluations, tmp_path / name)
    assert first.startswith(magic)
    assert (tmp_path / name).read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_picture_names_methods_bands_and_counts(evaluations, tmp_path):
    pytest.importorskip("matplotlib")
    band_plot(evaluations, tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    n = evaluations["default"]["head"]["n"]
    for told in ("default", "lightgbm", "head", f"n = {n}", "AUROC with 95% interval", "icu"):
        assert told in text


def test_a_picture_needs_a_known_suffix_and_matplotlib(evaluations, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"a.bmp must end in .png or .svg"):
        band_plot(evaluations, tmp_path / "a.bmp")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'remind-med\[plot\]'"):
        band_plot(evaluations, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
