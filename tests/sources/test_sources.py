"""Sources by name, cohorts by name or path, and the sentences when there is none."""

import re
from importlib import resources
from pathlib import Path

import pytest

from remind.errors import InputError
from remind.sources import SOURCES, load_source, open_cohort

SHIPPED = Path(str(resources.files("remind.sources"))) / "data"


def message(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


def test_open_by_name_and_by_path_agree() -> None:
    by_name, by_path = open_cohort("support2"), open_cohort(SHIPPED / "support2.toml")
    assert by_name.fingerprint == by_path.fingerprint


def test_options_reach_the_source() -> None:
    assert len(load_source("synthetic", num_patients=300, num_modalities=3)) == 300


def test_every_source_has_a_name_that_is_no_path() -> None:
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in SOURCES)


def test_unknown_cohort_names_the_nearest_source() -> None:
    text = message(lambda: open_cohort("suport2"))
    assert text == (
        'no cohort "suport2": it is no file or folder, and the built-in sources are '
        '"support2", "synthetic"; did you mean "support2"?'
    )


def test_unknown_source_and_option() -> None:
    assert 'no built-in source "synthetik"' in message(lambda: load_source("synthetik"))
    assert 'did you mean "kappa"?' in message(lambda: load_source("synthetic", kapa=1.0))
    text = message(lambda: load_source("support2", seed=1))
    assert text == 'source "support2" has no option "seed"; it takes no options'
