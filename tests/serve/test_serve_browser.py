"""The page of the service in Chromium: a patient is filled in, predicted, and judged."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from remind.serve import Service, make_app
from tests.browser import NARROW, WIDE, Looked, chromium, needs_chromium
from tests.serve.make import fit_hospital, requests_of, write_hospital

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REMIND_CACHE", str(folder / "cache"))
        yield write_hospital(folder / "hospital", patients=160)


@pytest.fixture(scope="module")
def service(hospital: Path) -> Service:
    return Service(fit_hospital(hospital, hospital.parent / "run"), lambda _: None)


@pytest.fixture(scope="module")
def address(service: Service) -> Iterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(make_app(service), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    server.should_exit = True
    thread.join()
    listening.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def looked(browser: Any, address: str) -> Iterator[Looked]:
    looked = Looked(browser, address)
    yield looked
    looked.context.close()


def fill(page: Any, modalities: dict[str, Any], folder: Path, stay: str) -> None:
    """Type a patient in, or choose its files."""
    for name, value in modalities.items():
        field = page.locator(f"fieldset[data-name={name}]")
        if name in ("admission", "vitals"):
            for column, cell in value.items():
                box = field.get_by_label(column)
                if box.evaluate("box => box.tagName") == "SELECT":
                    box.select_option(cell)
                else:
                    box.fill(str(cell))
        elif name == "labs":
            rows = [f"{row['time']}, {row['variable']}, {row['value']}" for row in value]
            field.locator("textarea").fill("\n".join(rows))
        elif name == "diagnoses":
            field.locator("textarea").fill("\n".join(value))
        elif name == "drugs":
            field.locator("textarea").fill("\n".join(f"{c['code']}, {c['time']}" for c in value))
        elif name == "notes":
            field.locator("textarea").fill(value[0]["text"])
            field.locator("[data-time]").fill(str(value[0]["time"]))
        elif name == "echo":
            field.locator("textarea").fill(" ".join(map(str, value)))
        else:
            names = [file["name"] for item in value for file in (item, *item.get("beside", []))]
            found = [next(folder.rglob(name)) for name in names]
            field.locator("input[type=file]").set_input_files(found)


def test_a_patient_of_all_kinds_is_predicted_as_by_programs(
    looked: Looked, hospital: Path, service: Service
) -> None:
    new = hospital / "new"
    patients = [p for p in requests_of(new) if len(p["modalities"].get("notes", [])) <= 1]
    kinds = {name for p in patients for name in p["modalities"]}
    assert kinds == set(service.run.spec.modalities)
    for patient in sorted(patients, key=lambda p: -len(p["modalities"]))[:4]:
        looked.page.get_by_role("button", name="Clear").click()
        fill(looked.page, patient["modalities"], new, patient["id"])
        request = service.reader.model.model_validate({"patients": [patient]})
        (expected,) = service.predict(request)["predictions"]
        with looked.page.expect_response("**/predict"):
            looked.page.get_by_role("button", name="Predict").click()
        chances = looked.page.locator("#answer dd")
        chances.first.wait_for()
        shown = [float(text.removesuffix("%")) for text in chances.all_inner_texts()]
        assert shown == pytest.approx(
            [100 * value for value in expected["probabilities"].values()], abs=0.051
        )
        words = {"sure": "Within its depth", "unsure": "Unsure", "out_of_depth": "Out of its depth"}
        assert looked.page.locator(".verdict").inner_text() == words[expected["verdict"]]
        assert looked.page.locator("#answer li").all_inner_texts() == expected["reasons"]
    assert looked.complaints == []


def test_wrong_input_is_told_where_the_prediction_would_be(looked: Looked) -> None:
    page = looked.page
    for box, typed, sentence in (
        ("heart_rate", "fast", 'heart_rate: "fast" is no number'),
        ("heart_rate", "", "one patient has no modality at all"),
    ):
        page.get_by_label(box).fill(typed)
        page.get_by_role("button", name="Predict").click()
        page.get_by_text(sentence).wait_for()
        assert page.locator(".verdict").inner_text() == "No prediction"


@pytest.mark.parametrize(
    ("size", "scheme"), [(WIDE, "light"), (NARROW, "dark")], ids=["desktop-light", "phone-dark"]
)
def test_it_is_quiet_and_breaks_no_rule_of_accessibility(
    browser: Any, address: str, size: Any, scheme: str
) -> None:
    looked = Looked(browser, address, size, scheme)
    looked.page.get_by_label("heart_rate").fill("80")
    looked.page.get_by_role("button", name="Predict").click()
    looked.page.locator(".verdict").wait_for()
    assert looked.broken_rules() == []
    assert looked.page.evaluate("document.documentElement.scrollWidth") == size["width"]
    assert looked.complaints == []
    assert {url.removeprefix(address) for url in looked.requests} == {"", "predict"}
    looked.context.close()
