"""Whatever is sent, the answer is one that openapi.json describes, and never a server error."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from remind.serve import Service, make_app
from tests.serve.make import fit_hospital, write_hospital

PROMISES = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REMIND_CACHE", str(folder / "cache"))
        run = fit_hospital(write_hospital(folder / "hospital", patients=160), Path(folder / "run"))
        app = make_app(Service(run, lambda _: None))
        yield schemathesis.openapi.from_asgi("/openapi.json", app)


@given(data=st.data())
@settings(
    max_examples=80,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_described(described: Any, data: Any) -> None:
    case = data.draw(described["/predict"]["POST"].as_strategy())
    case.call_and_validate(checks=PROMISES)
