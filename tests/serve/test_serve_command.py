"""`remind serve` as a process: it says where it listens, answers, and ends on Ctrl-C."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from remind.methods import METHODS
from remind.training import fit_run, with_overrides
from tests.commands import remind

DOCUMENT = Path(__file__).parents[2] / "docs" / "serve.md"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("served") / "run"
    method = METHODS["lightgbm"]
    settings = with_overrides(method.default_settings(), ["trees=5"])
    fit_run("support2", method, settings, out)
    return out


@pytest.fixture
def service(run: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    command = [sys.executable, "-m", "remind.cli", "serve", str(run), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                yield process, found[0]
                break
        process.kill()


def test_it_answers_and_ends_on_ctrl_c(
    service: tuple["subprocess.Popen[str]", str],
) -> None:
    process, address = service
    with urllib.request.urlopen(f"{address}/model") as reply:
        assert json.load(reply)["cohort"] == "support2"
        assert reply.headers["cache-control"] == "no-store"
    with urllib.request.urlopen(address) as reply:
        assert b"REMIND service" in reply.read()
        assert "default-src 'none'" in reply.headers["content-security-policy"]
    document = DOCUMENT.read_text(encoding="utf-8")
    (body,) = re.findall(r"```json\n(.*?)```", document, flags=re.DOTALL)
    request = urllib.request.Request(
        f"{address}/predict", body.encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request) as reply:
        predictions = json.load(reply)["predictions"]
    assert [p["group"] for p in predictions] == ["demographics+vitals", "vitals"]
    for prediction in predictions:  # as the document says
        assert f"{prediction['id']}  {prediction['verdict']}" in document
    assert "hrt is beyond the range of training" in predictions[1]["reasons"]
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--port", "taken"], "nothing can listen on 127.0.0.1, port "),
        (["--port", "70000"], "--port must be from 0 to 65535, got 70000"),
        (["--host", "198.51.100.7"], "nothing can listen on 198.51.100.7, port 8000"),
        (["--host", "no.such.host.invalid"], "nothing can listen on no.such.host.invalid"),
    ],
)
def test_where_it_cannot_listen_it_says_so(
    run: Path,
    options: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        options = [str(other.getsockname()[1]) if o == "taken" else o for o in options]
        assert remind(monkeypatch, "serve", run, *options) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_what_is_no_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert remind(monkeypatch, "serve", tmp_path / "none") == 2
    assert "none is no run folder: it does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["uvicorn", "fastapi"])
def test_without_its_packages_it_names_the_extra(
    run: Path, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert remind(monkeypatch, "serve", run, "--port", 0) == 2
    assert (
        f"remind serve needs {package}, which is not installed: pip install 'remind-med[serve]'"
        in capsys.readouterr().err
    )
