"""A fitted run as a service that says when it is out of its depth."""

from remind.serve.app import make_app
from remind.serve.service import Service

__all__ = ["Service", "make_app"]
