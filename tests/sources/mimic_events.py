"""What is measured, given and done in a stay of a generated MIMIC-IV release, with its quirks."""

import numpy as np

from tests.sources.mimic_columns import CHARTS, LABS, OTHER_ITEMS, WORDS
from tests.sources.mimic_people import HOUR, MINUTE, Rows, Stay, day
from tests.sources.mimic_wards import cultures, emergency, orders, radiology

BEFORE_HOURS = 6.0  # labs are drawn before the stay too
LONGEST_HOURS = 90.0  # rows after that are left out
OUTLIERS = (0.0, 9999.0, 999999.0)
CELSIUS = 223762
OXYGEN = 223835
CRP = 50889


def events(rows: Rows, stay: Stay) -> None:
    """Add all rows of a stay; about a third of the kinds is missing for any one."""
    rng = rows.rng
    _labs(rows, stay)
    _charts(rows, stay)
    for adds, share in (
        (_inputs, 0.6 + 0.15 * np.tanh(stay.severity)),
        (_outputs, 0.8),
        (_procedures, 0.5),
        (cultures, 0.6),
        (orders, 0.8),
        (emergency, 0.7),
        (radiology, 0.8),
    ):
        if rng.random() < share:
            adds(rows, stay)


def dictionaries(rows: Rows) -> None:
    """The tables that say what items are."""
    for itemid, (label, fluid, category, *_) in LABS.items():
        rows.add("hosp/d_labitems", itemid=itemid, label=label, fluid=fluid, category=category)
    for itemid, (label, category, unit, *_) in CHARTS.items():
        words = {"linksto": "chartevents", "category": category, "param_type": "Numeric"}
        known = {"label": label, "abbreviation": label, "unitname": unit or None}
        rows.add("icu/d_items", itemid=itemid, **known, **words)
    for itemid, (label, table, category, unit, kind) in OTHER_ITEMS.items():
        words = {"linksto": table, "category": category, "unitname": unit, "param_type": kind}
        rows.add("icu/d_items", itemid=itemid, label=label, abbreviation=label, **words)
    rows.add("hosp/d_icd_diagnoses", icd_code=["I10", "90"], icd_version=[10, 9], long_title="x, y")
    rows.add("hosp/d_icd_procedures", icd_code="39", icd_version=9, long_title="Other surgery")
    rows.add("hosp/d_hcpcs", code="A0428", long_description="Ambulance, (bls)")
    rows.add("hosp/provider", provider_id=["P003F3", "P03YMR"])
    rows.add("icu/caregiver", caregiver_id=[444, 6770])


def _labs(rows: Rows, stay: Stay) -> None:
    """Draws at random times; a panel of a draw lacks what the stay never has."""
    rng = rows.rng
    span = min((stay.outtime - stay.intime) / HOUR, LONGEST_HOURS)
    items = [item for item in LABS if rng.random() < 0.8]
    for hour in np.arange(rng.uniform(-BEFORE_HOURS, 4), span, rng.uniform(7, 13)):
        drawn = (stay.intime + int(hour * HOUR)) // MINUTE * MINUTE
        own = [item for item in items if rng.random() < 0.8]
        if not own:
            continue
        values = [_lab_value(rng, item, stay.severity) for item in own]
        stored = drawn + MINUTE * rng.integers(25, 400, len(own))
        is_stored = rng.random(len(own)) < 0.95
        rows.add(
            "hosp/labevents",
            labevent_id=[rows.new_id() for _ in own],
            subject_id=stay.subject_id,
            hadm_id=stay.hadm_id if rng.random() < 0.75 else None,
            specimen_id=rows.new_id(),
            itemid=own,
            charttime=drawn,
            storetime=[s if ok else None for s, ok in zip(stored, is_stored, strict=True)],
            value=[value for value, _, _ in values],
            valuenum=[number for _, number, _ in values],
            valueuom=[unit for _, _, unit in values],
            ref_range_lower=1.0,
            ref_range_upper=10.0,
            flag=["abnormal" if rng.random() < 0.3 else None for _ in own],
            priority="STAT" if rng.random() < 0.5 else "ROUTINE",
            comments=["___" if text == "___" else None for text, _, _ in values],
        )


def _lab_value(
    rng: np.random.Generator, item: int, severity: float
) -> tuple[str, float | None, str | None]:
    """The text, the number and the unit of a result; text and unit vary as they do in truth."""
    *_, unit, mean, slope, spread = LABS[item]
    number = max(mean + slope * severity + spread * rng.normal(), 0.01 * mean)
    number = round(number, 3 if mean < 2 else 1)
    draw = rng.random()
    if item == 51003 and number <= 0.03:
        return "<0.03", None, unit
    if draw < 0.01:
        return "___", None, unit
    if draw < 0.02:
        return f">{number}", None, unit
    if draw < 0.025:
        return "HEMOLYZED", None, unit
    if draw < 0.03:
        outlier = float(rng.choice(OUTLIERS[1:]))
        return f"{outlier:g}", outlier, unit
    if item == CRP and draw < 0.3:
        return f"{number / 10:g}", number / 10, "mg/dL"
    if unit == "mg/dL" and draw < 0.1:
        unit = "mg/dl"
    return f"{number:g}", number, unit or None


def _charts(rows: Rows, stay: Stay) -> None:
    """The flowsheet: every item on its own clock, from the start of the stay."""
    rng = rows.rng
    is_ventilated = rng.random() < 0.35 + 0.2 * np.tanh(stay.severity)
    span = min((stay.outtime - stay.intime) / HOUR, LONGEST_HOURS)
    ids = {"subject_id": stay.subject_id, "hadm_id": stay.hadm_id, "stay_id": stay.stay_id}
    for item, (_, _category, unit, mean, slope, spread, every) in CHARTS.items():
        ventilator = item in (OXYGEN, 220339, 224685)
        if rng.random() < 0.1 or (ventilator and not is_ventilated):
            continue
        hours = np.arange(rng.uniform(0.1, 3), span, every)
        number = mean + slope * stay.severity + spread * rng.normal(size=len(hours))
        if item in WORDS:
            number = np.clip(number.round(), 1, len(WORDS[item]))
            value = [WORDS[item][int(x) - 1] for x in number]
        else:
            number, units = _quirky(rng, item, np.maximum(number, -5).round(1), unit)
            value = [f"{x:g}" for x in number]
        charted = (stay.intime + (hours * HOUR).astype(int)) // MINUTE * MINUTE
        rows.add(
            "icu/chartevents",
            **ids,
            caregiver_id=6770 if rng.random() < 0.9 else None,
            charttime=charted,
            storetime=charted + MINUTE * rng.integers(-15, 50, len(hours)),
            itemid=item,
            value=value,
            valuenum=number,
            valueuom=(unit or None) if item in WORDS else units,
            warning=0,
        )
    _words(rows, stay, ids)


def _quirky(
    rng: np.random.Generator, item: int, number: np.ndarray, unit: str
) -> tuple[np.ndarray, list[str | None]]:
    """Outliers, and values in another unit than the item says."""
    is_odd = rng.random(len(number)) < 0.01
    number = np.where(is_odd, rng.choice(OUTLIERS, len(number)), number)
    if item == OXYGEN:  # a share instead of percent
        number = np.where(rng.random(len(number)) < 0.3, (number / 100).round(2), number)
    if item == CELSIUS:  # Fahrenheit under the item for Celsius
        number = np.where(rng.random(len(number)) < 0.1, (number * 1.8 + 32).round(1), number)
    return number, [unit or None] * len(number)


def _words(rows: Rows, stay: Stay, ids: dict[str, int]) -> None:
    """Rows of the flowsheet that are no numbers, and the weight, in kilograms or pounds."""
    rng = rows.rng
    at = {"charttime": stay.intime + HOUR, "storetime": stay.intime}
    device = str(rng.choice(["Nasal cannula", "Endotracheal tube", "None"]))
    rows.add("icu/chartevents", **ids, **at, itemid=226732, value=device, warning=0)
    weight = round(float(rng.normal(80, 15)), 1)
    pounds = rng.random() < 0.3
    number = round(weight * 2.2046, 1) if pounds else weight
    item, unit = (226531, None) if pounds else (226512, "kg")
    numbers = {"value": f"{number:g}", "valuenum": number, "valueuom": unit}
    rows.add("icu/chartevents", **ids, **at, itemid=item, **numbers, warning=0)
    text = {"value": day(stay.intime), "valueuom": "Date"}
    rows.add("icu/datetimeevents", **ids, **at, itemid=225343, **text, warning=0)


def _inputs(rows: Rows, stay: Stay) -> None:
    rng = rows.rng
    for item, rate, unit in ((221906, 0.1 + 0.1 * max(stay.severity, 0), "mcg/kg/min"),
                             (225158, 75.0, "mL/hour")):  # fmt: skip
        start = stay.intime + MINUTE * rng.integers(10, 3000, 4)
        end = start + MINUTE * rng.integers(1, 900, 4)
        common = {"subject_id": stay.subject_id, "hadm_id": stay.hadm_id, "stay_id": stay.stay_id}
        common |= {"starttime": start, "endtime": end, "caregiver_id": 6770}
        common |= {"storetime": start + 4 * MINUTE, "orderid": rows.new_id()}
        common |= {"rate": rate, "rateuom": unit, "statusdescription": "FinishedRunning"}
        words = {"ordercategoryname": "01-Drips", "ordercategorydescription": "Continuous Med"}
        amount = {"amount": rng.uniform(1, 500, 4).round(2), "amountuom": "ml", "patientweight": 80}
        rows.add("icu/inputevents", itemid=item, **common, **words, **amount)
        if item == 225158:
            parts = {"amount": amount["amount"], "amountuom": "ml"}
            rows.add("icu/ingredientevents", itemid=220490, **common, **parts)


def _outputs(rows: Rows, stay: Stay) -> None:
    rng = rows.rng
    hours = HOUR * np.arange(1, 60, 3)
    rows.add(
        "icu/outputevents",
        subject_id=stay.subject_id,
        hadm_id=stay.hadm_id,
        stay_id=stay.stay_id,
        charttime=stay.intime + hours,
        storetime=stay.intime + hours + 12 * MINUTE,
        itemid=226559,
        value=np.maximum(rng.normal(110 - 40 * stay.severity, 30, len(hours)), 0).round(),
        valueuom="ml",
    )


def _procedures(rows: Rows, stay: Stay) -> None:
    start = stay.intime + MINUTE * int(rows.rng.integers(5, 4000))
    rows.add(
        "icu/procedureevents",
        subject_id=stay.subject_id,
        hadm_id=stay.hadm_id,
        stay_id=stay.stay_id,
        starttime=start,
        endtime=start + 30 * HOUR,
        storetime=start + 30 * HOUR,
        itemid=225792,
        value=1800,
        valueuom="min",
        ordercategoryname="Ventilation",
        statusdescription="FinishedRunning",
    )
