"""From the patients of a request to a cohort to predict, read as `remind predict` reads tables."""

import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import BaseModel, Strict, create_model
from pydantic import Field as About

from remind.cohort import Cohort, CohortSpec, Encoding, cohort_from_frame, invalid_lines
from remind.errors import InputError, InputWarning
from remind.serve.fields import CLOSED, Field
from remind.serve.kinds import FILES, fields_of

SOURCE = "the request"


@dataclass(frozen=True, kw_only=True, eq=False)
class Received:
    """The patients of a request.

    Args:
        ids: as they were sent.
        cohort: of them, in the same order.
        notes: a sentence for each thing that was passed over or is probably not what was meant.
    """

    ids: list[str | int]
    cohort: Cohort
    notes: list[str]


class RequestReader:
    """Reads requests about the patients of one run.

    Args:
        spec: of the cohort that it was fitted on.
        encoding: of its training patients.
    """

    def __init__(self, spec: CohortSpec, encoding: Encoding) -> None:
        self.encoding = encoding
        self.fields: dict[str, Field] = fields_of(spec, encoding)
        self.model = request_model(self.fields)
        self._files = {name: f"table{m}.parquet" for m, name in enumerate(spec.modalities)}
        modalities = {
            name: modality.model_copy(update={"table": self._files[name]})
            if getattr(modality, "table", None) is not None
            else modality
            for name, modality in spec.modalities.items()
        }
        self.spec = replace(spec, modalities=modalities, source=SOURCE)

    def read(self, request: Any, folder: Path) -> Received:
        """The cohort of a request.

        Args:
            request: of `self.model`.
            folder: empty; what the cohort reads is written there, and must stay while it is used.

        Raises:
            InputError: values that no table to predict could hold, or a patient without any.
        """
        ids = [patient.id for patient in request.patients]
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", InputWarning)
                cohort = self._cohort(ids, request.patients, folder)
        except InputError as error:
            raise InputError(self._without_paths(str(error), folder)) from error
        remarks = [str(item.message) for item in caught if item.category is InputWarning]
        notes = [self._without_paths(note, folder) for note in [*remarks, *invalid_lines(cohort)]]
        return Received(ids=ids, cohort=cohort, notes=notes)

    def _cohort(self, ids: Sequence[str | int], patients: Sequence[Any], folder: Path) -> Cohort:
        names = [str(value) for value in ids]
        id_column = self.spec.cohort.id
        columns: dict[str, pd.Series] = {id_column: pd.Series(names, dtype=object)}
        for m, (name, field) in enumerate(self.fields.items()):
            values = [getattr(patient.modalities, f"modality_{m}") for patient in patients]
            if not any(value is not None for value in values):
                continue
            columns |= field.columns(values, folder)
            owners, rows = field.rows(values, folder)
            if owners:
                owner = getattr(self.spec.modalities[name], "id", None) or id_column
                table = pd.DataFrame({owner: [names[row] for row in owners]} | rows)
                table.to_parquet(folder / self._files[name], index=False)
        return cohort_from_frame(
            pd.DataFrame(columns),
            replace(self.spec, root=folder),
            encoding=self.encoding,
            source=SOURCE,
        )

    def _without_paths(self, sentence: str, folder: Path) -> str:
        """A sentence about the request's own tables and files by names that the sender knows."""
        for name, file in self._files.items():
            sentence = sentence.replace(f"{folder}/{file}", f"{SOURCE}'s {name}")
        return re.sub(rf"(?:{re.escape(str(folder))}/)?(?:{FILES}\d+/)?", "", sentence)


def request_folder() -> "tempfile.TemporaryDirectory[str]":
    """A folder for one request, gone with it."""
    return tempfile.TemporaryDirectory(prefix="remind-request-")


def request_model(fields: Mapping[str, Field]) -> type[BaseModel]:
    """The body of a request: patients with whatever is observed in them."""
    modalities: dict[str, Any] = {
        f"modality_{m}": (field.annotation | None, About(default=None, alias=name))
        for m, (name, field) in enumerate(fields.items())
    }
    observed = create_model("Modalities", __config__=CLOSED, **modalities)
    patients = (list[_patient(observed)], About(min_length=1))
    return create_model("Request", __config__=CLOSED, patients=patients)


def _patient(observed: type[BaseModel]) -> Any:
    identity = Annotated[str, About(min_length=1, max_length=200)] | Annotated[int, Strict()]
    return create_model(
        "Patient",
        __config__=CLOSED,
        id=(identity, About(description="comes back with the prediction")),
        modalities=(observed, About(description="whatever is observed; the rest may be left out")),
    )
