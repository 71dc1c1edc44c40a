"""The page of a service: what its model reads, and a form that predicts one patient."""

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from remind.cohort.extras import require


def page(card: Mapping[str, Any]) -> tuple[str, str]:
    """The page of a model, and the policy that lets it do what it does and nothing else.

    Args:
        card: see `remind.serve.card`.

    Raises:
        InputError: Jinja2 is not installed.
    """
    jinja2 = require("jinja2", "serve", "remind serve")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_packaged),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _packaged("page.js")
    shared = (files("remind.report") / "templates" / "style.css").read_text(encoding="utf-8")
    html = environment.get_template("page.html.j2").render(
        card=card,
        style=Markup(shared + _packaged("style.css")),
        script=Markup(script),
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return html, policy


def _packaged(name: str) -> str:
    return (files("remind.serve") / "templates" / name).read_text(encoding="utf-8")
