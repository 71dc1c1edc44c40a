"""What training rows say about series."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from remind.cohort.kinds.event_scales import CountScale, TimeScale
from remind.cohort.kinds.series_events import SeriesEvents
from remind.cohort.kinds.series_summary import fit_columns, summarise
from remind.cohort.kinds.series_variables import SeriesVariable, fit_variables
from remind.cohort.kinds.tabular import TabularColumn

SeriesEncoding = Literal["attention", "summary"]


@dataclass(frozen=True, kw_only=True)
class SeriesModality:
    """One series.

    Args:
        name: of the modality.
        index: into the cohort's modalities.
        encoder: attention or summary.
        num_tokens: of attention per patient; a summary has one.
        until: end of the hours that are read, if they have one.
        variables: of training patients.
        time: quantiles of training events.
        count: of training patients' events.
        summary: a column per variable and statistic; empty for attention.
    """

    name: str
    index: int
    encoder: SeriesEncoding
    num_tokens: int
    until: float | None
    variables: tuple[SeriesVariable, ...]
    time: TimeScale
    count: CountScale
    summary: tuple[TabularColumn, ...] = ()

    @classmethod
    def fit(
        cls,
        raw: SeriesEvents,
        *,
        name: str,
        index: int,
        encoder: SeriesEncoding,
        num_tokens: int,
        until: float | None,
        max_bins: int,
    ) -> Self:
        """Of the events of training patients."""
        variables = fit_variables(raw, max_bins)
        summary: list[TabularColumn] = []
        if encoder == "summary":
            statistics = summarise(raw, variables, until)
            summary = fit_columns(name, index, statistics, variables, max_bins)
        return cls(
            name=name,
            index=index,
            encoder=encoder,
            num_tokens=num_tokens,
            until=until,
            variables=variables,
            time=TimeScale.fit(raw.events, max_bins),
            count=CountScale.fit(raw.events),
            summary=tuple(summary),
        )

    def dump(self) -> dict[str, Any]:
        """JSON."""
        return asdict(self)

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Self:
        """Back from JSON."""
        time = {key: tuple(knots) for key, knots in data["time"].items()}
        parts = {
            "variables": tuple(SeriesVariable(**_tuples(item)) for item in data["variables"]),
            "summary": tuple(TabularColumn(**_tuples(item)) for item in data["summary"]),
            "time": TimeScale(**time),
            "count": CountScale(**data["count"]),
        }
        return cls(**{**data, **parts})


@dataclass(frozen=True, kw_only=True)
class SeriesSchema:
    """All series of a cohort, in order."""

    modalities: tuple[SeriesModality, ...]

    def find(self, name: str) -> SeriesModality:
        """The series of a modality."""
        return next(item for item in self.modalities if item.name == name)


def _tuples(item: Mapping[str, Any]) -> dict[str, Any]:
    return {**item, "knots": tuple(item["knots"]), "categories": tuple(item["categories"])}
