"""Long reading says how far it is; short reading says nothing."""

import pytest

from remind.cohort import counting
from remind.cohort.counting import counted


@pytest.mark.parametrize("every", [0.0, 1e9])
def test_parts_are_all_there_and_long_work_is_reported(
    every: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(counting, "ELSEWHERE", every)
    items = list(range(1500))
    assert [x for part in counted(items, 1000, "files read") for x in part] == items
    said = capsys.readouterr().err
    assert said == ("1,000 of 1,500 files read\n1,500 of 1,500 files read\n" if not every else "")
