"""Signals of several leads: WFDB records and NPY; a set per patient.

A record is the middle of a signal, of fixed length and rate. NaN marks what is not there: a gap, a
lead that the file lacks, and what lies before the start and after the end.
"""

# V records, L leads, S samples, K numbers of a summary, N patients

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from remind.cohort.formats import FormatError, Waves
from remind.cohort.formats.npy import read_npy_signal
from remind.cohort.formats.wfdb import read_wfdb, record_files
from remind.cohort.kinds.decoding import FileDecoder
from remind.cohort.kinds.files import FileEncoded, FileKind, FileModality, FileSpec, FileValues
from remind.cohort.kinds.waves import summarise
from remind.cohort.store import RecordStore
from remind.errors import InputError

VERSION = 2  # of the records; another one makes them anew
MOST_FIT = 512  # records that scaling looks at
OUTER_PERCENT = 1.0
OUTER_SCORE = 2.326  # of a normal distribution, at that percentile
LARGEST_FACTOR = 1000  # of resampling, up or down


class SignalSpec(FileSpec):
    """Signals.

    `leads`: their names, in the order of a record; a WFDB record may lack some, an NPY file holds
    all, in this order. `rate`: samples per second of a record, in Hz. `seconds`: its length.
    `source_rate`: of NPY files, in Hz. `layout`: of NPY files.
    """

    leads: list[str] = Field(min_length=1)
    rate: float = Field(default=100.0, gt=0)
    seconds: float = Field(default=10.0, gt=0)
    source_rate: float | None = Field(default=None, gt=0)
    layout: Literal["leads x samples", "samples x leads"] = "leads x samples"

    @model_validator(mode="after")
    def _usable(self) -> Self:
        plain = [_plain(lead) for lead in self.leads]
        if len(set(plain)) < len(plain):
            raise ValueError(f"leads names a lead twice: {', '.join(self.leads)}")
        if self.num_samples < 1:
            raise ValueError(f"{self.seconds:g} seconds at {self.rate:g} Hz have no sample")
        return self

    @property
    def num_samples(self) -> int:
        """S."""
        return round(self.rate * self.seconds)


@dataclass(frozen=True, kw_only=True)
class SignalModality(FileModality):
    """One modality of signals.

    Args:
        leads: names.
        rate_hz: samples per second.
        num_samples: S.
        center, scale: per lead, of the training rows: the median, and a robust standard deviation.
    """

    leads: tuple[str, ...]
    rate_hz: float
    num_samples: int
    center: tuple[float, ...]
    scale: tuple[float, ...]


class Signal(FileKind):
    """Records are float32 (L, S) with NaN for what is not there."""

    name = "signal"
    spec = SignalSpec
    modality = SignalModality

    def decoder(self, spec: SignalSpec) -> FileDecoder:
        options = ([_plain(lead) for lead in spec.leads], spec.rate, spec.source_rate, spec.layout)
        store = RecordStore(
            f"signal {VERSION} {options}", (len(spec.leads), spec.num_samples), np.float32
        )
        return FileDecoder(store=store, parts=_parts, decode=partial(decode_signal, spec))

    def fit_modality(
        self, name: str, index: int, raw: FileValues, spec: SignalSpec
    ) -> SignalModality:
        keys_S, first_S = np.unique(raw.items.columns["key"], return_index=True)
        chosen = np.linspace(0, len(keys_S) - 1, min(len(keys_S), MOST_FIT)).round()
        records = raw.store.read(raw.items.columns["place"][first_S[chosen.astype(np.int64)]])
        ends_L = [_center_and_scale(records[:, lead]) for lead in range(len(spec.leads))]
        return SignalModality(
            name=name,
            index=index,
            num_tokens=spec.num_tokens,
            leads=tuple(spec.leads),
            rate_hz=spec.rate,
            num_samples=spec.num_samples,
            center=tuple(center for center, _ in ends_L),
            scale=tuple(scale for _, scale in ends_L),
        )

    def source(self, item: SignalModality, raw: FileValues) -> FileEncoded:
        center_L1, scale_L1 = (
            np.array(numbers, np.float32)[:, None] for numbers in (item.center, item.scale)
        )
        return FileEncoded(items=raw.items, store=raw.store, shift=center_L1, scale=1 / scale_L1)

    def summary(self, item: SignalModality, records_V: np.ndarray) -> tuple[list[str], np.ndarray]:
        names, x_VLK = summarise(records_V, item.rate_hz)
        return (
            [f"{lead}_{name}" for lead in item.leads for name in names],
            x_VLK.reshape(len(records_V), math.prod(x_VLK.shape[1:])),
        )


def decode_signal(spec: SignalSpec, path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """The record of a file, and its facts.

    Raises:
        FormatError: it cannot be used.
    """
    waves = _read(spec, path)
    if any(len(values_S) == 0 for values_S in waves.values):
        raise FormatError("has no samples")
    if any(np.isinf(values_S).any() for values_S in waves.values):
        raise FormatError("holds an infinite number: write NaN where there is no sample")
    at_L = _places(waves, spec.leads)
    if all(np.isnan(waves.values[at]).all() for at in at_L if at >= 0):
        raise FormatError("holds no sample of the named leads but NaN")
    record_LS = np.full((len(at_L), spec.num_samples), np.nan, np.float32)
    rate_L = np.array([waves.rates_hz[at] if at >= 0 else 0.0 for at in at_L])
    for rate_hz in np.unique(rate_L[rate_L > 0]).tolist():
        rows = np.flatnonzero(rate_L == rate_hz)
        values = np.stack([waves.values[at] for at in at_L[rows]])
        record_LS[rows] = _resampled(values, rate_hz, spec.rate, spec.num_samples)
    return record_LS, waves.facts


def _parts(path: Path) -> list[Path]:
    return [path] if path.suffix.lower() == ".npy" else record_files(path)


def _read(spec: SignalSpec, path: Path) -> Waves:
    if path.suffix.lower() != ".npy":
        return read_wfdb(path, spec.seconds)
    if spec.source_rate is None:
        raise InputError(
            f"{path} does not say its rate: add source_rate, in samples per second, to the section "
            'of this modality of kind "signal"'
        )
    return read_npy_signal(
        path, rate_hz=spec.source_rate, is_samples_first=spec.layout == "samples x leads"
    )


def _places(waves: Waves, leads: Sequence[str]) -> np.ndarray:
    """Which lead of the file each named one is, int64 (L,); -1 where the file lacks it."""
    if waves.leads is None:
        if len(waves.values) != len(leads):
            raise FormatError(
                f"has {len(waves.values)} leads, but {len(leads)} are named: check leads and layout"
            )
        return np.arange(len(leads))
    place = {_plain(lead): at for at, lead in reversed(list(enumerate(waves.leads)))}
    at_L = np.array([place.get(_plain(lead), -1) for lead in leads])
    if (at_L < 0).all():
        raise FormatError(
            f"has the leads {', '.join(waves.leads)}, none of which is named: check leads"
        )
    return at_L


def _resampled(
    values_LS: np.ndarray, rate_hz: float, wanted_hz: float, num_samples: int
) -> np.ndarray:
    """float32 (L, num_samples): the middle, at another rate; NaN stays NaN, and fills up."""
    from scipy.signal import resample_poly  # slow to import, and not needed to train

    if not 1 / LARGEST_FACTOR <= wanted_hz / rate_hz <= LARGEST_FACTOR:
        raise FormatError(
            f"has {rate_hz:g} samples per second, from which rate = {wanted_hz:g} is too far: "
            f"choose one that is at most {LARGEST_FACTOR} times more or less"
        )
    ratio = Fraction(wanted_hz / rate_hz).limit_denominator(LARGEST_FACTOR)
    if ratio != 1:
        filled_LS = np.stack([_filled(values_S) for values_S in values_LS])
        out_LS = resample_poly(
            filled_LS, ratio.numerator, ratio.denominator, axis=1, padtype="line"
        )
        nearest = np.round(np.arange(out_LS.shape[1]) / float(ratio)).astype(np.int64)
        is_gap_LS = np.isnan(values_LS)[:, np.minimum(nearest, values_LS.shape[1] - 1)]
        values_LS = np.where(is_gap_LS, np.nan, out_LS)
    surplus = values_LS.shape[1] - num_samples
    if surplus >= 0:
        return values_LS[:, surplus // 2 :][:, :num_samples].astype(np.float32)
    before = -surplus // 2
    padding = ((0, 0), (before, -surplus - before))
    return np.pad(values_LS, padding, constant_values=np.nan).astype(np.float32)


def _filled(values_S: np.ndarray) -> np.ndarray:
    """Gaps bridged by straight lines, so that a filter can pass."""
    there = np.flatnonzero(~np.isnan(values_S))
    if len(there) == 0:
        return np.zeros_like(values_S)
    return np.interp(np.arange(len(values_S)), there, values_S[there])


def _center_and_scale(values_VS: np.ndarray) -> tuple[float, float]:
    """Median, and the distance of the outer percentiles in units of the normal distribution."""
    seen = values_VS[~np.isnan(values_VS)]
    if len(seen) == 0:
        return 0.0, 1.0
    low, center, high = np.percentile(seen, [OUTER_PERCENT, 50, 100 - OUTER_PERCENT]).tolist()
    scale = (high - low) / (2 * OUTER_SCORE)
    return center, scale if scale > 0 else 1.0


def _plain(lead: str) -> str:
    return lead.strip().casefold()
