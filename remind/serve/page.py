"""The page of a service: what its model reads, and a form that predicts one patient."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from remind.pages import environment, packaged, script_source

PACKAGE = "remind.serve"


def page(card: Mapping[str, Any]) -> tuple[str, str]:
    """The page of a model, and the policy that lets it do what it does and nothing else.

    Args:
        card: see `remind.serve.card`.

    Raises:
        InputError: Jinja2 is not installed.
    """
    templates = environment(PACKAGE, "serve", "remind serve")
    script = packaged(PACKAGE, "page.js")
    style = packaged("remind.report", "style.css") + packaged(PACKAGE, "style.css")
    html = templates.get_template("page.html.j2").render(
        card=card, style=Markup(style), script=Markup(script)
    )
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src {script_source(script)}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return html, policy
