"""What can be predicted, for whom and when.

At the window: a row is the first ICU stay of an admission, the prediction is made when the stay has
lasted `window` hours, and shorter stays are dropped. At discharge: the prediction is made when the
patient leaves the hospital alive; whoever died in it is dropped.

in-hospital-mortality   at the window: hospital_expire_flag of the admission
length-of-stay          at the window: the ICU stay lasts more than 7 days in all
                        (length-of-stay:3: more than 3)
phenotyping             at the window: group of the principal diagnosis by ICD chapter, 7 classes
                        (phenotyping:sepsis and others: whether the admission is coded with it)
mortality-30d, -90d, -1y
                        at discharge: death within 30, 90, 365 days of it (patients.dod)
readmission-30d         at discharge: another admission of the person begins within 30 days

The benchmark of 25 phenotypes at once is multilabel, which REMIND does not fit yet.
"""

from dataclasses import dataclass
from typing import Any, Literal

from remind.errors import InputError, did_you_mean
from remind.sources.checks import days_of_stay, refuse_detail, split_task
from remind.sources.mimic_iv.phenotypes import GROUPS, PHENOTYPES, group_case, matches

Moment = Literal["window", "discharge"]

DAYS_AFTER = {"mortality-30d": 30, "mortality-90d": 90, "mortality-1y": 365}
READMISSION_DAYS = 30
LONG_STAY_DAYS = 7
TASKS = (
    *("in-hospital-mortality", *DAYS_AFTER, "readmission-30d", "length-of-stay", "phenotyping"),
)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task.

    Args:
        name: as it was asked for.
        moment: of the prediction.
        label: column of the main table.
        kind: of cohort.toml.
        sql: of the label, over the columns of a candidate stay, its admission and its patient;
            null if it is not known.
        meaning: of the label, a sentence for the manifest.
        codes: the code list that the label rests on.
    """

    name: str
    moment: Moment
    label: str
    kind: Literal["binary", "multiclass"] = "binary"
    sql: str
    meaning: str
    codes: dict[str, Any] | None = None


def find_task(name: str, window: float) -> Task:
    """The task of a name.

    Raises:
        InputError: there is no such task or window, or what follows the colon is wrong.
    """
    base, detail = split_task("mimic-iv", name, window, TASKS)
    if base == "length-of-stay":
        return _length_of_stay(name, detail, window)
    if base == "phenotyping":
        return _phenotyping(name, detail)
    refuse_detail("mimic-iv", base, detail)
    if base in DAYS_AFTER:
        return _mortality_after(name, DAYS_AFTER[base])
    if base == "readmission-30d":
        return _readmission(name)
    return Task(
        name=name,
        moment="window",
        label="died_in_hospital",
        sql="hospital_expire_flag",
        meaning="label: the patient dies in this hospital admission (hospital_expire_flag)",
    )


def _mortality_after(name: str, days: int) -> Task:
    return Task(
        name=name,
        moment="discharge",
        label=f"died_within_{days}_days",
        sql=f"coalesce(dod <= dischtime::DATE + {days}, false)::INTEGER",
        meaning=f"label: death within {days} days of discharge (patients.dod, which MIMIC-IV "
        "follows for a year after the last discharge; no date of death counts as alive)",
    )


def _readmission(name: str) -> Task:
    return Task(
        name=name,
        moment="discharge",
        label="readmitted_within_30_days",
        sql=f"""EXISTS (
            SELECT 1 FROM admission AS later
            WHERE later.subject_id = candidate.subject_id AND later.hadm_id <> candidate.hadm_id
                AND later.admittime >= candidate.dischtime
                AND later.admittime <= candidate.dischtime + INTERVAL {READMISSION_DAYS} DAY
        )::INTEGER""",
        meaning="label: another hospital admission of the person, planned or not, begins within "
        f"{READMISSION_DAYS} days of discharge; who dies at home before counts as not readmitted",
    )


def _length_of_stay(name: str, detail: str, window: float) -> Task:
    days = days_of_stay("mimic-iv", detail, window, LONG_STAY_DAYS, 3)
    return Task(
        name=name,
        moment="window",
        label="long_stay",
        sql=f"(date_diff('second', intime, outtime) > {days} * 86400)::INTEGER",
        meaning=f"label: the ICU stay lasts more than {days:g} days in all, counted from its "
        "start, whether it ends by death or not",
    )


def _phenotyping(name: str, detail: str) -> Task:
    if not detail:
        return Task(
            name=name,
            moment="window",
            label="principal_diagnosis",
            kind="multiclass",
            sql=_of_diagnoses(f"min({group_case()}) FILTER (seq_num = 1)"),
            meaning="label: group of the principal diagnosis (seq_num 1) by ICD chapter; one "
            "phenotype by name is --task phenotyping:NAME, of " + ", ".join(PHENOTYPES),
            codes={group: _listed(codes) for group, codes in GROUPS.items()},
        )
    if detail not in PHENOTYPES:
        raise InputError(
            f"mimic-iv: --task phenotyping:{detail} is none of {', '.join(PHENOTYPES)}"
            f"{did_you_mean(detail, PHENOTYPES)}"
        )
    return Task(
        name=name,
        moment="window",
        label=detail.replace("-", "_"),
        sql=_of_diagnoses(f"bool_or({matches(PHENOTYPES[detail])})::INTEGER"),
        meaning=f"label: a discharge diagnosis of the admission is {detail}, at any place",
        codes={detail: _listed(PHENOTYPES[detail])},
    )


def _of_diagnoses(aggregate: str) -> str:
    """Null for an admission without any coded diagnosis."""
    return f"""(
        SELECT {aggregate} FROM diagnosis WHERE diagnosis.hadm_id = candidate.hadm_id
    )"""


def _listed(codes: tuple[tuple[str, ...], tuple[str, ...]]) -> dict[str, list[str]]:
    return {"ICD-9-CM prefixes": list(codes[0]), "ICD-10-CM prefixes": list(codes[1])}
