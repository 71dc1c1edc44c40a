"""REMIND: patients in rare combinations of modalities, predicted as well as the others.

Importing the package loads nothing else: each part is imported when it is used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from remind.estimator import RemindClassifier

__version__ = "0.1.0"

__all__ = ["RemindClassifier", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "RemindClassifier":
        from remind.estimator import RemindClassifier

        return RemindClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
