"""The report in Chromium: by mouse and keyboard, wide and narrow, light and dark, on paper."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remind.report import write_report
from tests.browser import NARROW, WIDE, Looked, chromium, needs_chromium
from tests.report.make import make_diagnosis, make_run

# What is inside a picture is one image to those who do not see it; its contrast is tested below.
PARTS = {"exclude": [["svg > *"]]}

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("pages")
    run = make_run(root / "run", diagnosis=make_diagnosis())
    other = make_run(root / "other", method="lightgbm", noise=1.5)
    return write_report([run, other]).as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


class Report(Looked):
    """A page of tables."""

    def column(self, caption: str, at: int) -> list[str]:
        """Texts of a column of a table, from top to bottom, without small print."""
        cells = self.page.locator(f"div[aria-label='{caption}'] tbody tr :nth-child({at + 1})")
        return [text.split(" ")[0] for text in cells.evaluate_all("c => c.map(x => x.textContent)")]


@pytest.fixture
def look(browser: Any, address: str) -> Iterator[Any]:
    looked = []

    def open_page(size: Any = WIDE, scheme: str = "light", **options: Any) -> Report:
        looked.append(Report(browser, address, size, scheme, **options))
        return looked[-1]

    yield open_page
    for page in looked:
        page.context.close()


@pytest.mark.parametrize(
    ("size", "scheme"), [(WIDE, "light"), (NARROW, "dark")], ids=["desktop-light", "phone-dark"]
)
def test_it_is_quiet_and_breaks_no_rule_of_accessibility(
    look: Any, size: Any, scheme: str, tmp_path: Path
) -> None:
    looked = look(size, scheme)
    assert looked.broken_rules(PARTS) == []
    picture = tmp_path / "report.png"
    looked.page.screenshot(path=picture)
    assert picture.stat().st_size > 10_000
    assert looked.complaints == []
    assert looked.requests == [looked.page.url]


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["desktop", "phone"])
def test_nothing_is_wider_than_the_window(look: Any, size: Any) -> None:
    page = look(size, "light").page
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]


def test_text_of_pictures_is_readable_on_dark_and_on_light(look: Any) -> None:
    read = "e => [getComputedStyle(e).fill, getComputedStyle(document.body).backgroundColor]"
    for scheme in ("light", "dark"):
        texts = look(WIDE, scheme).page.locator("svg text")
        for ink, paper in texts.evaluate_all(f"texts => texts.map({read})"):
            assert contrast(ink, paper) >= 4.5, (scheme, ink, paper)


def test_tables_sort_by_click_and_by_keyboard(look: Any) -> None:
    looked = look()
    caption = "All combinations"
    head = looked.page.locator(f"div[aria-label='{caption}'] thead th").nth(3)
    before = looked.column(caption, 3)
    head.get_by_role("button").click()
    values = [int(text.replace(",", "")) for text in looked.column(caption, 3)]
    assert head.get_attribute("aria-sort") == "descending"
    assert values == sorted(values, reverse=True)
    assert sorted(before) == sorted(looked.column(caption, 3))
    head.get_by_role("button").focus()
    looked.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert [int(text.replace(",", "")) for text in looked.column(caption, 3)] == values[::-1]
    first = looked.page.locator(f"div[aria-label='{caption}'] thead th").first
    first.get_by_role("button").focus()
    looked.page.keyboard.press("Space")
    assert first.get_attribute("aria-sort") == "ascending"
    assert head.get_attribute("aria-sort") == "none"
    assert looked.complaints == []


def test_what_is_undefined_sorts_last_both_ways(look: Any) -> None:
    looked = look()
    caption = "All combinations"
    button = looked.page.locator(f"div[aria-label='{caption}'] thead th").nth(4)
    for _ in range(2):
        button.get_by_role("button").click()
        shown = looked.column(caption, 4)
        known = [text for text in shown if text != "–"]
        assert len(known) < len(shown)
        assert shown[: len(known)] == known


def test_the_keyboard_reaches_the_report_past_the_contents(look: Any) -> None:
    page = look(NARROW).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    assert page.locator(".skip").bounding_box()["y"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("link", name="Model card").click()
    assert page.evaluate("location.hash") == "#card"
    page.wait_for_timeout(50)
    assert page.evaluate("document.getElementById('card').getBoundingClientRect().top") < 844


def test_it_reads_without_a_script(look: Any) -> None:
    page = look(java_script_enabled=False).page
    assert page.locator("th button").count() == 0
    assert page.get_by_role("heading", name="Model card").is_visible()
    assert page.locator("svg").first.is_visible()


def test_on_paper_it_is_light_whole_and_without_contents(look: Any) -> None:
    page = look(WIDE, "dark").page
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator("nav").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(253, 253, 252)"
    heights = page.locator(".scroll.long").first.evaluate("e => [e.scrollHeight, e.clientHeight]")
    assert heights[0] == heights[1]


def contrast(one: str, two: str) -> float:
    """WCAG 2.2 contrast of two colors as browsers write them, rgb(r, g, b)."""
    low, high = sorted(_luminance(color) for color in (one, two))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    parts = [int(part) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
