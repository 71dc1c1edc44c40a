"""Notes of doctors and nurses, in English: what they say of the patient's state is the signal.

V notes.
"""

import numpy as np
import pandas as pd

from remind.sources.toy_hospital.latent import Stays

LEVELS = 4
LEVEL_EDGES = (-0.8, 0.2, 1.1)  # of illness, between two levels
LEVEL_NOISE = 0.35  # of each sentence

OPENINGS = (
    "{age}-year-old {person} admitted {way} with {complaint}.",
    "This is a {age}-year-old {person} who presented with {complaint}.",
    "{age} y/o {person}, admitted {way} for {complaint}.",
)
WAYS_IN = ("from home", "via the emergency department", "as a transfer", "from the clinic")
COMPLAINTS = (
    "fever and cough",
    "abdominal pain",
    "shortness of breath",
    "a fall at home",
    "chest discomfort",
    "weakness for three days",
    "nausea and vomiting",
    "a urinary tract infection",
    "swelling of both legs",
    "palpitations",
)
# A line per level of illness, from well to dying.
STATE = (
    (
        "Alert and fully oriented.",
        "Awake, conversing normally.",
        "Cooperative on rounds.",
    ),
    ("Alert, mildly tired.", "Oriented but sleepy at times.", "Answers slowly but appropriately."),
    (
        "Confused since this morning.",
        "Drowsy, opens eyes to voice.",
        "Agitated, disoriented.",
    ),
    ("Unresponsive to voice.", "Obtunded, no purposeful movement.", "Comatose, pupils sluggish."),
)
FUNCTION = (
    ("Walks the corridor without help.", "Independent in all activities.", "Out of bed all day."),
    ("Walks with a cane.", "Needs a little help with washing.", "Sits in the chair for meals."),
    ("Needs two people to transfer.", "Largely bedbound this week.", "Eats only when fed."),
    (
        "Bedbound and cachectic.",
        "Total care, mottled limbs.",
        "Not tolerating any nutrition.",
    ),
)
OUTLOOK = (
    (
        "Plan discharge home tomorrow.",
        "Discharge is being planned.",
        "May go home soon.",
    ),
    (
        "Continue present management.",
        "To rehabilitation when stable.",
        "Improving slowly.",
    ),
    ("Guarded prognosis.", "Family updated about the lack of progress.", "Escalation discussed."),
    (
        "Family meeting: comfort measures.",
        "Palliative care consulted.",
        "Do not resuscitate.",
    ),
)
EXAMS = (
    "Lungs with few crackles at the bases.",
    "Abdomen soft, no tenderness.",
    "Heart sounds regular, no murmur.",
    "Mild ankle oedema.",
    "Skin warm and dry.",
    "No focal deficit of the limbs.",
    "Denies chest pain, no headache.",
    "Wound clean, no discharge.",
    "Lines checked, sites without redness.",
    "Urine output adequate overnight.",
    "Reports no new pain.",
    "Allergies: none known.",
)
PLANS = (
    "Laboratory tests tomorrow.",
    "Continue antibiotics.",
    "Thrombosis prophylaxis given.",
    "Physiotherapy to see.",
    "Medication list reconciled.",
    "Adjust insulin to glucose.",
    "Follow cultures.",
    "Dietitian informed.",
)
AUTHORS = ("Resident note", "Nursing note", "Consult note", "Progress note")


def notes(stays: Stays, admission: pd.DataFrame) -> pd.DataFrame:
    """Hours and text of each note, by row of its stay; one to four per stay that has any."""
    rng = stays.random("notes")
    rows = np.flatnonzero(stays.present("notes"))
    row_V = np.repeat(rows, 1 + rng.binomial(3, 0.3, len(rows)))
    hours_V = (48 * rng.random(len(row_V))).round(1)
    z_V = stays.illness("notes")[row_V]
    ages, sexes = admission["age_years"].tolist(), admission["sex"].tolist()
    texts = [
        _note(rng, z, ages[row], sexes[row])
        for row, z in zip(row_V.tolist(), z_V.tolist(), strict=True)
    ]
    return pd.DataFrame({"hours": hours_V, "text": texts}, index=row_V)


def _note(rng: np.random.Generator, z: float, age: int, sex: str) -> str:
    opening = _one(rng, OPENINGS).format(
        age=age,
        person="woman" if sex == "female" else "man",
        way=_one(rng, WAYS_IN),
        complaint=_one(rng, COMPLAINTS),
    )
    exams = rng.choice(EXAMS, 3, replace=False).tolist()
    said = [_at_level(rng, z, part) for part in (STATE, FUNCTION)]
    middle = [exams[0], said[0], exams[1], said[1], exams[2]]
    end = [_one(rng, PLANS), _at_level(rng, z, OUTLOOK)]
    return f"{_one(rng, AUTHORS)}. " + " ".join([opening, *middle, *end])


def _at_level(rng: np.random.Generator, z: float, lines: tuple[tuple[str, ...], ...]) -> str:
    level = int(np.digitize(z + LEVEL_NOISE * rng.standard_normal(), LEVEL_EDGES))
    return _one(rng, lines[level])


def _one(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]
