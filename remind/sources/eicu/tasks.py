"""What can be predicted, when a unit stay has lasted `window` hours.

in-hospital-mortality   hospitaldischargestatus is Expired
unit-mortality          unitdischargestatus is Expired
length-of-stay          the unit stay lasts more than 3 days in all (length-of-stay:5: more than 5)
"""

from dataclasses import dataclass

from remind.sources.checks import days_of_stay, refuse_detail, split_task

LONG_STAY_DAYS = 3
TASKS = ("in-hospital-mortality", "unit-mortality", "length-of-stay")
DEATH = "CASE lower(trim({column})) WHEN 'expired' THEN 1 WHEN 'alive' THEN 0 END"


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task.

    Args:
        name: as it was asked for.
        label: column of the main table.
        sql: of the label, over the columns of a unit stay; null if it is not known.
        meaning: of the label, a sentence for the manifest.
    """

    name: str
    label: str
    sql: str
    meaning: str


def find_task(name: str, window: float) -> Task:
    """The task of a name.

    Raises:
        InputError: there is no such task or window, or what follows the colon is wrong.
    """
    base, detail = split_task("eicu", name, window, TASKS)
    if base == "length-of-stay":
        return _length_of_stay(name, detail, window)
    refuse_detail("eicu", base, detail)
    where = "hospital" if base == "in-hospital-mortality" else "unit"
    column = f"{where}dischargestatus"
    return Task(
        name=name,
        label=f"died_in_{where}",
        sql=DEATH.format(column=column),
        meaning=f"label: the person dies in the {where} ({column} is Expired)",
    )


def _length_of_stay(name: str, detail: str, window: float) -> Task:
    days = days_of_stay("eicu", detail, window, LONG_STAY_DAYS, 5)
    return Task(
        name=name,
        label="long_stay",
        sql=f"(unitdischargeoffset > {days} * 1440)::INTEGER",
        meaning=f"label: the unit stay lasts more than {days:g} days in all, whether it ends by "
        "death or not",
    )
