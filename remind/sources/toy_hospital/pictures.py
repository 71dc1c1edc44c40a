"""Pictures drawn from illness: chest radiographs and head CTs, all at once.

V images, H, W rows and columns, D slices.
"""

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import expit

SIZE = 64
CT_SHAPE = (16, 32, 32)
AIR_HU, BRAIN_HU, FLUID_HU, BLOOD_HU, BONE_HU = -1000.0, 34.0, 6.0, 68.0, 900.0


def chest_xrays(z_V: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness in 0..1, float32 (V, 64, 64): the iller, the whiter the lungs.

    Position, size of the heart, exposure and noise are chance.
    """
    num = len(z_V)
    y_HW, x_HW = np.meshgrid(*2 * [np.linspace(-1, 1, SIZE)], indexing="ij")
    shift_y, shift_x = 0.06 * rng.standard_normal((2, num, 1, 1))
    y, x = y_HW + shift_y, x_HW + shift_x
    thorax = _soft_ellipse(y, x, (0.1, 0.0), (1.05, 0.95))
    heart_size = 0.30 + 0.05 * rng.standard_normal((num, 1, 1))
    heart = _soft_ellipse(y, x, (0.35, 0.12), (0.42, heart_size))
    lungs = _soft_ellipse(y, x, (0.0, -0.45), (0.72, 0.34))
    lungs = np.maximum(lungs, _soft_ellipse(y, x, (0.0, 0.45), (0.72, 0.34)))
    ribs = 0.04 * np.sin(14 * y + 5 * np.abs(x)) * lungs
    patches = gaussian_filter(rng.standard_normal((num, SIZE, SIZE)), (0, 5, 5))
    patches /= patches.std(axis=(1, 2), keepdims=True)
    opacity = expit(1.3 * z_V[:, None, None] - 0.6 + 0.8 * patches)
    light = 0.62 * thorax - 0.45 * lungs * (1 - 0.9 * opacity)
    light = np.maximum(light, 0.6 * heart) + ribs
    exposure = 1 + 0.06 * rng.standard_normal((num, 1, 1))
    light = 0.15 + exposure * light + 0.03 * rng.standard_normal(light.shape)
    return np.clip(light, 0, 1).astype(np.float32)


def head_cts(z_V: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Hounsfield units, int16 (V, 16, 32, 32): the iller, the larger the haemorrhage.

    Its place, the ventricles, the tilt of the head and noise are chance.
    """
    num = len(z_V)
    axes = [np.linspace(-1, 1, size) for size in CT_SHAPE]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    tilt = 0.08 * rng.standard_normal((num, 1, 1, 1))
    x = x + tilt * y
    inside = np.sqrt((z / 0.95) ** 2 + (y / 0.92) ** 2 + (x / 0.78) ** 2)
    volume = np.where(inside < 1, BONE_HU, AIR_HU)
    volume[inside < 0.88] = BRAIN_HU
    ventricle = 0.22 + 0.04 * rng.standard_normal((num, 1, 1, 1))
    volume[(z / 0.4) ** 2 + (y / 0.5) ** 2 + (x / ventricle) ** 2 < 1] = FLUID_HU
    center = rng.uniform(-0.35, 0.35, (3, num, 1, 1, 1))
    radius = 0.75 * expit(1.2 * z_V - 0.7)[:, None, None, None]
    reach = (z - center[0]) ** 2 + (y - center[1]) ** 2 + (x - center[2]) ** 2
    volume[(reach < radius**2) & (inside < 0.86)] = BLOOD_HU
    return (volume + 4 * rng.standard_normal(volume.shape)).round().astype(np.int16)


def _soft_ellipse(
    y: np.ndarray,
    x: np.ndarray,
    center: tuple[float, float],
    radii: tuple[float | np.ndarray, float | np.ndarray],
) -> np.ndarray:
    """1 within, 0 without, and a soft edge."""
    away = np.sqrt(((y - center[0]) / radii[0]) ** 2 + ((x - center[1]) / radii[1]) ** 2)
    return expit((1 - away) / 0.06)
