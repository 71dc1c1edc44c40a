"""Electrocardiograms drawn from illness.

V records, L leads, S samples.
"""

import numpy as np

RATE_HZ, SECONDS = 100, 4
LEADS = ("II", "V5")
# wave -> seconds from the R peak, width in seconds, height in mV in each lead
WAVES: dict[str, tuple[float, float, tuple[float, float]]] = {
    "P": (-0.16, 0.022, (0.14, 0.08)),
    "Q": (-0.035, 0.010, (-0.10, -0.08)),
    "R": (0.0, 0.014, (1.05, 1.30)),
    "S": (0.035, 0.012, (-0.20, -0.28)),
}
ST_AT, ST_WIDTH, T_AT, T_WIDTH = 0.13, 0.05, 0.26, 0.045


def ecgs(z_V: np.ndarray, heart_rate_V: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Millivolts, float32 (V, L, S): the iller, the deeper the ST segment and the flatter T.

    Rhythm, height of the waves, a wandering baseline and noise are chance.

    Args:
        z_V: illness.
        heart_rate_V: beats per minute.
        rng: of the chance.
    """
    num = len(z_V)
    time_S = np.arange(RATE_HZ * SECONDS) / RATE_HZ
    beat_s_V = 60 / np.clip(heart_rate_V, 45, 150)
    height_V = np.exp(0.15 * rng.standard_normal(num))
    st_VL = -0.09 * (z_V[:, None] + 0.4) * np.array([1.0, 1.3])
    t_VL = (0.28 - 0.14 * z_V[:, None]) * np.array([1.0, 1.1])
    waves_VLS = np.zeros((num, len(LEADS), len(time_S)))
    start_V = beat_s_V * rng.uniform(-1, 0, num)
    while (start_V < SECONDS + 0.3).any():
        from_peak_VS = time_S - start_V[:, None]
        for at, width, heights in WAVES.values():
            waves_VLS += np.array(heights)[None, :, None] * _bump(from_peak_VS, at, width)
        waves_VLS += st_VL[:, :, None] * _bump(from_peak_VS, ST_AT, ST_WIDTH)
        waves_VLS += t_VL[:, :, None] * _bump(from_peak_VS, T_AT, T_WIDTH)
        start_V = start_V + beat_s_V * (1 + 0.04 * rng.standard_normal(num))
    drift_hz, phase = rng.uniform(0.15, 0.4, (num, 1, 1)), rng.uniform(0, 6.28, (num, 1, 1))
    wander = 0.06 * np.sin(2 * np.pi * drift_hz * time_S + phase)
    noise = 0.02 * rng.standard_normal(waves_VLS.shape)
    return (height_V[:, None, None] * waves_VLS + wander + noise).astype(np.float32)


def _bump(from_peak_VS: np.ndarray, at: float, width: float) -> np.ndarray:
    return np.exp(-0.5 * ((from_peak_VS - at) / width) ** 2)[:, None, :]
