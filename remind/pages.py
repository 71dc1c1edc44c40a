"""Pages of HTML from the templates of a package, in its folder `templates`."""

import base64
import hashlib
from importlib.resources import files
from typing import Any

from remind.cohort.extras import require


def packaged(package: str, name: str) -> str:
    """The text of a template, stylesheet or script of a package."""
    return (files(package) / "templates" / name).read_text(encoding="utf-8")


def environment(package: str, extra: str, what: str) -> Any:
    """Jinja2 on these templates; everything is escaped, for names come from users.

    Args:
        package: such as "remind.report".
        extra: of remind-med that installs Jinja2.
        what: needs it.

    Raises:
        InputError: Jinja2 is not installed.
    """
    jinja2 = require("jinja2", extra, what)
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: packaged(package, name)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def script_source(script: str) -> str:
    """What a content security policy says to allow an inline script, and no other."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
