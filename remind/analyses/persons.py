"""Persons with several rows: what is compared with chance by rows takes one row of each."""

# N rows of a cohort, X those to choose from

import numpy as np

from remind.evaluation.bootstrap import person_codes


def one_row_per_person(
    person_N: np.ndarray, rows: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Choose a random row of every person.

    Rows of a person are alike and often of one group, so permutations and draws of single rows
    would take for a difference of groups what is one of persons.

    Args:
        person_N: of a cohort.
        rows: to choose from.
        rng: draws, unless everyone has one row.

    Returns:
        The chosen rows in the order that they were given in.
    """
    person_X, num_persons = person_codes(person_N[rows])
    if num_persons == len(rows):
        return rows
    shuffled_X = rng.permutation(len(rows))
    first = np.unique(person_X[shuffled_X], return_index=True)[1]
    return rows[np.sort(shuffled_X[first])]
