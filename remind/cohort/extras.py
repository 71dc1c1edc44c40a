"""Packages that only one modality kind needs: imported when used, and asked for by name."""

import importlib
from typing import Any

from remind.errors import InputError


def require(module: str, extra: str, what: str) -> Any:
    """Import a module that an extra of the package installs.

    Args:
        module: such as "pydicom".
        extra: of remind-med, such as "image".
        what: needs it, such as "a DICOM file".

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{what} needs {module}, which is not installed: pip install 'remind-med[{extra}]'"
        ) from error
