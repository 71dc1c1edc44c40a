"""What is done outside the flowsheet: cultures, orders, the emergency department, radiology."""

from typing import Any

import numpy as np

from tests.sources.mimic_columns import CHEXPERT
from tests.sources.mimic_people import HOUR, Rows, Stay, day


def cultures(rows: Rows, stay: Stay) -> None:
    """Negative and positive cultures, an unknown time of day, a result that comes days later."""
    rng = rows.rng
    for _ in range(int(rng.integers(1, 4))):
        drawn = stay.intime + HOUR * int(rng.integers(-3, 50))
        grows = rng.random() < 0.3
        has_time = rng.random() < 0.8
        rows.add(
            "hosp/microbiologyevents",
            microevent_id=rows.new_id(),
            subject_id=stay.subject_id,
            hadm_id=stay.hadm_id if rng.random() < 0.7 else None,
            micro_specimen_id=rows.new_id(),
            chartdate=f"{day(drawn)} 00:00:00",
            charttime=drawn if has_time else None,
            spec_itemid=70012,
            spec_type_desc="BLOOD CULTURE",
            test_seq=1,
            storedate=f"{day(drawn + 2 * 24 * HOUR)} 00:00:00",
            storetime=drawn + HOUR * int(rng.choice([5, 49])) if has_time else None,
            test_itemid=90201,
            test_name="Blood Culture, Routine",
            org_itemid=80053 if grows else None,
            org_name="ENTEROCOCCUS SP." if grows else None,
            ab_name="VANCOMYCIN" if grows else None,
            dilution_text=">256" if grows else None,
            interpretation="R" if grows else None,
            comments=None if grows else "NO GROWTH.  ",
        )


def orders(rows: Rows, stay: Stay) -> None:
    rng = rows.rng
    ids = {"subject_id": stay.subject_id, "hadm_id": stay.hadm_id}
    for drug, dose in (("Heparin", "5000"), ("Metoprolol Tartrate", "12.5-25"), ("Insulin", "___")):
        start = stay.admittime + HOUR * int(rng.integers(0, 80))
        number, order = rows.new_id(), f"{stay.subject_id}-{rng.integers(1000)}"
        times = {"starttime": start, "stoptime": start + 2 * 24 * HOUR}
        words = {"dose_val_rx": dose, "dose_unit_rx": "UNIT", "route": "IV", "drug_type": "MAIN"}
        rows.add("hosp/prescriptions", **ids, **times, **words, pharmacy_id=number, drug=drug)
        rows.add("hosp/pharmacy", **ids, **times, pharmacy_id=number, medication=drug)
        rows.add("hosp/poe", **ids, poe_id=order, poe_seq=1, ordertime=start, order_type="Meds")
        rows.add("hosp/poe_detail", poe_id=order, poe_seq=1, subject_id=stay.subject_id)
        given = {"charttime": start, "storetime": start, "scheduletime": start}
        emar = {"emar_id": order, "emar_seq": 7, "medication": drug, "event_txt": "Administered"}
        rows.add("hosp/emar", **ids, **given, **emar, pharmacy_id=number)
        rows.add("hosp/emar_detail", subject_id=stay.subject_id, emar_id=order, dose_given="___")


def emergency(rows: Rows, stay: Stay) -> None:
    """The emergency department before the admission: Fahrenheit, words for pain."""
    rng = rows.rng
    ed = {"subject_id": stay.subject_id, "stay_id": rows.new_id()}
    intime = stay.admittime - 5 * HOUR
    outtime = stay.admittime + HOUR
    words = {"gender": stay.gender, "race": "WHITE", "arrival_transport": "AMBULANCE"}
    number = stay.hadm_id if rng.random() < 0.95 else None
    words["disposition"] = "ADMITTED"
    rows.add("ed/edstays", **ed, hadm_id=number, intime=intime, outtime=outtime, **words)
    vitals = {
        "temperature": round(float(rng.normal(98.6, 1)), 1),
        "heartrate": round(float(rng.normal(90 + 10 * stay.severity, 8))),
        "resprate": round(float(rng.normal(18 + 2 * stay.severity, 2))),
        "o2sat": 97 if rng.random() < 0.97 else 9999,
        "sbp": round(float(rng.normal(125 - 10 * stay.severity, 10))),
        "dbp": 70,
        "pain": str(rng.choice(["0", "8", "unable", "Critical", "13"])),
    }
    acuity = int(np.clip(round(2.5 - stay.severity), 1, 5))
    rows.add("ed/triage", **ed, **vitals, acuity=acuity, chiefcomplaint='Dyspnea, "Transfer"')
    rows.add("ed/vitalsign", **ed, charttime=intime + HOUR, **vitals)
    rows.add("ed/diagnosis", **ed, seq_num=1, icd_code="R0602", icd_version=10, icd_title="x")
    rows.add("ed/medrecon", **ed, charttime=intime, name="aspirin", gsn="004380")
    rows.add("ed/pyxis", **ed, charttime=intime + 2 * HOUR, med_rn=1, name="Morphine")


def radiology(rows: Rows, stay: Stay) -> None:
    """Reports of several lines; one in ten is empty, one in ten was stored much later."""
    rng = rows.rng
    for number in range(int(rng.integers(1, 4))):
        charted = stay.intime + HOUR * int(rng.integers(-4, 60))
        later = HOUR * (40 if rng.random() < 0.1 else 2)
        ill = "Worsening edema and effusion." if stay.severity > 0.3 else "Lungs are clear."
        text: Any = f'EXAMINATION:  CHEST (PORTABLE AP)\n\nIMPRESSION:\n"{ill}" Compared, ___.\n'
        note = f"{stay.subject_id}-RR-{stay.stay_id % 1000}{number}"
        rows.add(
            "note/radiology",
            note_id=note,
            subject_id=stay.subject_id,
            hadm_id=stay.hadm_id if rng.random() < 0.8 else None,
            note_type="RR",
            note_seq=number + 1,
            charttime=charted,
            storetime=charted + later if rng.random() < 0.95 else None,
            text=str(rng.choice(["", " \n"])) if rng.random() < 0.1 else text,
        )
        named = {"field_name": "exam_name", "field_value": "CHEST (PORTABLE AP)"}
        rows.add("note/radiology_detail", note_id=note, subject_id=stay.subject_id, **named)


def x_ray_labels(rng: np.random.Generator, severity: float) -> list[float | None]:
    """CheXpert's labels: 1 there, 0 not, -1 uncertain, empty not mentioned."""
    weights = np.array([0.6, 0.2 - 0.1 * np.tanh(severity), 0.05, 0.15 + 0.1 * np.tanh(severity)])
    return [
        (None, 0.0, -1.0, 1.0)[int(i)]
        for i in rng.choice(4, len(CHEXPERT), p=weights / weights.sum())
    ]
