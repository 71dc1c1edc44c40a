"""The tables of the hospital: admission, vital signs, laboratory, codes, embeddings.

N stays, V rows of a long table, D dimensions.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from remind.sources.toy_hospital.latent import Stays

ADMISSIONS = ("emergency", "urgent", "elective")
UNITS = ("ward", "step-down", "ICU")  # by intensity of care
HOURS = 48.0
MISSING_CELL = 0.06
ECHO_DIM, ECHO_FACTORS = 32, 5
SEVERE_CODES, BURDEN_SLOPE = 3.5, 0.8  # mean per stay, of which some repeat; log of it per illness

# name -> value of a healthy stay, how far illness and chance move it, digits
VITALS: dict[str, tuple[float, float, float, int]] = {
    "heart_rate": (86.0, 0.0, 14.0, 0),  # the ECG shows it too
    "mean_pressure": (84.0, -9.0, 8.0, 0),
    "respiratory_rate": (19.0, 3.5, 3.0, 0),
    "spo2": (95.0, -2.0, 1.6, 0),
    "temperature": (37.1, 0.0, 0.7, 1),
}
LIMITS = {
    "heart_rate": (35.0, 190.0),
    "mean_pressure": (35.0, 150.0),
    "respiratory_rate": (6.0, 50.0),
    "spo2": (60.0, 100.0),
    "temperature": (34.0, 42.0),
}
# name -> log of the value at admission, how it rises per stay with illness, spread, tests per stay
LABS: dict[str, tuple[float, float, float, float]] = {
    "lactate": (0.4, 0.60, 0.15, 7.0),
    "creatinine": (0.1, 0.60, 0.15, 5.0),
    "bilirubin": (-0.2, 0.55, 0.20, 3.0),
    "platelets": (5.4, -0.45, 0.15, 4.0),
    "leukocytes": (2.2, 0.0, 0.3, 5.0),
    "haemoglobin": (2.4, 0.0, 0.15, 5.0),
    "potassium": (1.4, 0.0, 0.1, 6.0),
}
CULTURES = ("no growth", "no growth", "Staphylococcus epidermidis", "Escherichia coli")

# Of the mild ones some are common. Of the severe ones each is rare; those of a line share a parent.
MILD_DIAGNOSES = (
    "I10 E78.5 K21.9 M54.5 E03.9 Z87.891 F41.9 G47.33 M17.9 H26.9 N40.0 E66.9 J45.909 K59.00 R51.9 "
    "M81.0 F32.9 E55.9 L40.0 H40.9 K57.30 M10.9 G43.909 J30.9 D50.9 Z79.01 Z96.641 I83.90"
)
SEVERE_DIAGNOSES = (
    "C78.00 C78.01 C78.02 C78.1 C78.2 C78.6 C78.7 C78.89",
    "C79.31 C79.51 C79.52 C79.70 C79.71 C79.82 C79.89",
    "K70.30 K70.31 K70.40 K70.41 K74.60 K74.69 K72.10 K72.90",
    "I50.20 I50.22 I50.23 I50.30 I50.32 I50.33 I50.42 I50.43",
    "N18.4 N18.5 N18.6 N17.0 N17.9",
    "J84.10 J84.112 J84.17 J96.10 J96.11 J96.12",
)
MILD_DRUGS = (
    "N02BE01 A02BC02 B01AB05 C10AA05 C10AA01 C07AB02 C09AA05 A10AB05 A10BA02 N06AB06 R03AC02 "
    "A06AD15 N02AA01 M01AE01 C03CA01 H03AA01 B01AC06 J01CR02 J01DD04 A12BA01 N05CF01 R06AX13"
)
SEVERE_DRUGS = (
    "C01CA03 C01CA04 C01CA06 C01CA07 C01CA24 C01CA26",
    "N05CM18 N01AX10 N01AX03 N05CD08 N01AH01 N01AH03 N01AH06",
    "M03AC04 M03AC09 M03AC11",
    "J01DH02 J01DH51 J01DH56 J01XB01 J01XX08 J01XA01",
)


def admission(stays: Stays) -> pd.DataFrame:
    """Age, sex, way of admission and unit."""
    rng = stays.random("admission")
    num = len(stays)
    age_N = 64 + 13 * stays.illness("admission") + 4 * rng.standard_normal(num)
    female_P = rng.random(stays.person_N.max() + 1) < 0.47
    unit_N = np.digitize(stays.care_N + 0.3 * rng.standard_normal(num), [0.0, 1.0])
    return pd.DataFrame(
        {
            "age_years": np.clip(age_N.round(), 18, 99).astype(np.int64),
            "sex": np.where(female_P[stays.person_N], "female", "male"),
            "admission_type": rng.choice(
                ["emergency", "urgent", "elective"], num, p=[0.6, 0.2, 0.2]
            ),
            "unit": np.array(UNITS)[unit_N],
        }
    )


def vitals(stays: Stays) -> pd.DataFrame:
    """Vital signs at admission, a few of them not written down; all empty if not measured."""
    rng = stays.random("vitals")
    z_N, num = stays.illness("vitals"), len(stays)
    columns = {}
    for name, (healthy, moved, spread, digits) in VITALS.items():
        value_N = (healthy + moved * z_N + spread * rng.standard_normal(num)).round(digits)
        value_N = np.clip(value_N, *LIMITS[name])
        is_there_N = stays.present("vitals") & (rng.random(num) > MISSING_CELL)
        columns[name] = np.where(is_there_N, value_N, np.nan)
    return pd.DataFrame(columns)


def labs(stays: Stays) -> pd.DataFrame:
    """Hours, test and value of each test, by row of its stay; many in the sick, and in no order.

    At admission the ill and the healthy are alike; illness is where the values go from there.
    """
    rng = stays.random("labs")
    z_N, rows = stays.illness("labs"), np.flatnonzero(stays.present("labs"))
    parts = []
    for name, (start, rise, spread, tests) in LABS.items():
        row_V = np.repeat(rows, 1 + rng.poisson(tests * np.exp(0.2 * stays.care_N[rows])))
        hours_V = HOURS * rng.random(len(row_V))
        own_N = spread * rng.standard_normal(len(stays))
        log_V = start + rise * z_N[row_V] * hours_V / HOURS + own_N[row_V]
        value_V = np.exp(log_V + 0.08 * rng.standard_normal(len(row_V))).round(2)
        text_V = np.array([f"{value:g}" for value in value_V.tolist()], dtype=object)
        parts.append(_long(row_V, hours=hours_V.round(2), test=name, value=text_V))
    row_V = rows[rng.random(len(rows)) < 0.3]
    culture_V = rng.choice(CULTURES, len(row_V)).astype(object)
    hours_V = (HOURS * rng.random(len(row_V))).round(2)
    parts.append(_long(row_V, hours=hours_V, test="blood culture", value=culture_V))
    frame = pd.concat(parts)
    return frame.iloc[rng.permutation(len(frame))]


def diagnoses(stays: Stays) -> pd.DataFrame:
    """The ICD-10-CM codes that the patient came with, by row of the stay."""
    rng = stays.random("diagnoses")
    row_V, code_V = _codes(stays, "diagnoses", MILD_DIAGNOSES, SEVERE_DIAGNOSES, rng)
    return _long(row_V, code=code_V)


def drugs(stays: Stays) -> pd.DataFrame:
    """Hours and ATC code of what was given, by row of the stay."""
    rng = stays.random("drugs")
    row_V, code_V = _codes(stays, "drugs", MILD_DRUGS, SEVERE_DRUGS, rng)
    return _long(row_V, hours=(HOURS * rng.random(len(row_V))).round(1), code=code_V)


def echo(stays: Stays) -> list[np.ndarray | None]:
    """An embedding of the echocardiogram: illness is one direction among others in it."""
    rng = stays.random("echo")
    loads_FD = rng.standard_normal((ECHO_FACTORS + 1, ECHO_DIM)) / np.sqrt(ECHO_FACTORS)
    factors_NF = rng.standard_normal((len(stays), ECHO_FACTORS + 1))
    factors_NF[:, 0] = 1.5 * stays.illness("echo")
    noise_ND = 0.3 * rng.standard_normal((len(stays), ECHO_DIM))
    x_ND = (factors_NF @ loads_FD + noise_ND).astype(np.float32)
    return [
        x_D if is_there else None for x_D, is_there in zip(x_ND, stays.present("echo"), strict=True)
    ]


def _codes(
    stays: Stays,
    modality: str,
    mild: str,
    severe: Sequence[str],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and codes: the number of severe ones grows with illness, which ones is chance."""
    rows = np.flatnonzero(stays.present(modality))
    burden_R = BURDEN_SLOPE * stays.illness(modality)[rows]
    severe_R = rng.poisson(SEVERE_CODES * np.exp(burden_R - BURDEN_SLOPE**2 / 2))
    mild_R = 1 + rng.poisson(4.0, len(rows))
    leaves = np.array([code for line in severe for code in line.split()], dtype=object)
    harmless = np.array(mild.split(), dtype=object)
    common = 1 / np.arange(1, len(harmless) + 1)
    row_V = np.concatenate([np.repeat(rows, severe_R), np.repeat(rows, mild_R)])
    code_V = np.concatenate(
        [
            rng.choice(leaves, severe_R.sum()),
            rng.choice(harmless, mild_R.sum(), p=common / common.sum()),
        ]
    )
    order_V = rng.permutation(len(row_V))
    frame = _long(row_V, row=row_V, code=code_V).iloc[order_V].drop_duplicates()
    frame = frame.sort_values("row", kind="stable")
    return frame["row"].to_numpy(), frame["code"].to_numpy()


def _long(row_V: np.ndarray, **columns: object) -> pd.DataFrame:
    return pd.DataFrame(columns, index=row_V)
