"""Plain numbers of a signal for models of tables."""

# V records, L leads, S samples, W frequencies, E bands, K numbers

import itertools

import numpy as np

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
NUM_BANDS = 6
LOWEST_HZ = 0.5
SMALLEST_POWER = 1e-12


def summarise(records_VLS: np.ndarray, rate_hz: float) -> tuple[list[str], np.ndarray]:
    """Names of K numbers of a lead, and these numbers (V, L, K), NaN where the lead has no sample.

    Share of samples that are there, mean, standard deviation, percentiles, crossings of the mean
    per second, the frequency of most power, and the logarithm of the power in bands of equal ratio
    between 0.5 Hz and half the rate. Gaps count as the mean.
    """
    is_there_VLS = ~np.isnan(records_VLS)
    count_VL = is_there_VLS.sum(axis=2)
    divisor_VL = np.maximum(count_VL, 1)
    mean_VL = np.where(is_there_VLS, records_VLS, 0.0).sum(axis=2) / divisor_VL
    x_VLS = np.where(is_there_VLS, records_VLS - mean_VL[:, :, None], 0.0)
    std_VL = np.sqrt((x_VLS**2).sum(axis=2) / divisor_VL)
    crossings_VL = (np.diff(x_VLS >= 0, axis=2)).sum(axis=2) / (divisor_VL / rate_hz)
    names_E, peak_VL, power_VLE = _spectrum(x_VLS, rate_hz)
    columns = [
        count_VL / x_VLS.shape[2],
        mean_VL,
        std_VL,
        *_percentiles(x_VLS, mean_VL),
        crossings_VL,
        peak_VL,
    ]
    x_VLK = np.concatenate([np.stack(columns, axis=2), power_VLE], axis=2)
    x_VLK[:, :, 1:][count_VL == 0] = np.nan
    percent = [f"p{p}" for p in PERCENTILES]
    return ["present", "mean", "std", *percent, "crossings_hz", "peak_hz", *names_E], x_VLK


def _percentiles(x_VLS: np.ndarray, mean_VL: np.ndarray) -> np.ndarray:
    return np.percentile(x_VLS, PERCENTILES, axis=2) + mean_VL


def _spectrum(x_VLS: np.ndarray, rate_hz: float) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of bands, the frequency of most power (V, L), and log10 power in bands (V, L, E)."""
    power_VLW = np.abs(np.fft.rfft(x_VLS, axis=2)) ** 2 / x_VLS.shape[2]
    hz_W = np.fft.rfftfreq(x_VLS.shape[2], 1 / rate_hz)
    edges = np.geomspace(min(LOWEST_HZ, rate_hz / 4), rate_hz / 2, NUM_BANDS + 1)
    names = [f"power_{low:.3g}_{high:.3g}_hz" for low, high in itertools.pairwise(edges)]
    band_W = np.searchsorted(edges[1:-1], hz_W)
    is_in_WE = (band_W[:, None] == np.arange(NUM_BANDS)) & (hz_W[:, None] >= edges[0])
    return names, hz_W[power_VLW.argmax(axis=2)], np.log10(power_VLW @ is_in_WE + SMALLEST_POWER)
