"""Pages in Chromium, for tests that skip where there is none."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine to look at the page with"
)


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


class Looked:
    """A page, with everything that it complained of or asked the network for."""

    def __init__(
        self, browser: Any, address: str, size: Any = None, scheme: str = "light", **options: Any
    ) -> None:
        self.context = browser.new_context(viewport=size or WIDE, color_scheme=scheme, **options)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)

    def broken_rules(self, parts: Any = None) -> list[tuple[str, str]]:
        """The rules of accessibility that it breaks, each with the first place."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe")
        self.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        found = axe.Axe().run(self.page, parts).response["violations"]
        return [(rule["id"], rule["nodes"][0]["html"][:200]) for rule in found]
