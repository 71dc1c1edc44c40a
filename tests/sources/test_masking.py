"""Missingness on purpose: shares hold, nobody is left with nothing, and only the hidden goes."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remind.cohort import Groups, load_spec, read_cohort
from remind.cohort.tables import find_files
from remind.errors import InputError
from remind.sources import load_source
from remind.sources.masking import load_mask, mask_from_dict
from remind.sources.masking.draw import draw_combinations, draw_each, zipf_combinations
from remind.sources.masking.observe import observe
from remind.sources.prepare import prepare
from tests.commands import remind

PATIENTS = 200
NAMES = ("image", "text", "labs")


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("REMIND_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort with all kinds."""
    folder = tmp_path_factory.mktemp("hospital") / "cohort"
    prepare("toy-hospital", folder, patients=PATIENTS, seed=3)
    return folder


def sentence(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


def ids(num: int) -> np.ndarray:
    return np.array([f"p{n}" for n in range(num)], dtype=object)


def hide_each(present_NL, safe_N, offset_N, share, seed=0) -> np.ndarray:
    names = tuple(f"m{m}" for m in range(present_NL.shape[1]))
    share_L = np.broadcast_to(share, len(names)).astype(float)
    num = len(present_NL)
    return draw_each(present_NL, safe_N, offset_N, share_L, ids_N=ids(num), names=names, seed=seed)


# The draw


@settings(max_examples=30)
@given(
    seed=st.integers(0, 1000),
    num_listed=st.integers(2, 6),
    observed=st.floats(0.3, 1.0),
    share=st.floats(0.0, 0.45),
    slope=st.floats(-3, 3),
)
def test_shares_hold_and_nobody_is_left_with_nothing(
    seed: int, num_listed: int, observed: float, share: float, slope: float
) -> None:
    rng = np.random.default_rng(seed)
    present_NL = rng.random((1500, num_listed)) < observed
    present_NL = present_NL[present_NL.any(axis=1)]
    safe_N = rng.random(len(present_NL)) < 0.3
    offset_N = slope * rng.standard_normal(len(present_NL))
    try:
        hidden_NL = hide_each(present_NL, safe_N, offset_N, share, seed)
    except InputError as error:
        assert "for every patient keeps a modality" in str(error)  # noqa: PT017
        return
    assert not (hidden_NL & ~present_NL).any()
    assert ((present_NL & ~hidden_NL).any(axis=1) | safe_N).all()
    for m in range(num_listed):
        num = present_NL[:, m].sum()
        reached = hidden_NL[:, m].sum() / num
        assert reached == pytest.approx(share, abs=5 * np.sqrt(0.25 / num))


def test_of_two_modalities_half_and_half_is_the_most_that_can_be_hidden() -> None:
    present_NL, safe_N, offset_N = np.ones((4000, 2), bool), np.zeros(4000, bool), np.zeros(4000)
    hidden_NL = hide_each(present_NL, safe_N, offset_N, 0.49)
    assert not hidden_NL.all(axis=1).any()
    assert hidden_NL.mean(axis=0) == pytest.approx([0.49, 0.49], abs=0.03)
    told = sentence(lambda: hide_each(present_NL, safe_N, offset_N, [0.9, 0.2]))
    assert told == (
        '"m0" cannot be hidden from 90% of its patients with those shares of others, '
        "for every patient keeps a modality: lower the shares"
    )
    has_more_N = np.arange(4000) % 2 == 0
    told = sentence(lambda: hide_each(present_NL[:, :1], has_more_N, offset_N, 0.8))
    assert "from 80% of its patients, only from 50%, for every patient" in told
    safe = hide_each(present_NL, ~safe_N, offset_N, 0.6)  # they are observed in something else
    assert safe.mean(axis=0) == pytest.approx([0.6, 0.6], abs=0.03)
    assert safe.all(axis=1).mean() == pytest.approx(0.36, abs=0.03)


@pytest.mark.parametrize("slope", [2.0, -2.0, 0.0])
def test_a_slope_above_zero_hides_more_from_the_sicker(slope: float) -> None:
    z_N = np.random.default_rng(0).standard_normal(4000)
    present_NL, safe_N = np.ones((4000, 3), bool), np.zeros(4000, bool)
    hidden_NL = hide_each(present_NL, safe_N, slope * z_N, 0.3)
    assert hidden_NL.mean(axis=0) == pytest.approx([0.3] * 3, abs=0.03)
    sicker, healthier = hidden_NL[z_N > 1].mean(), hidden_NL[z_N < -1].mean()
    assert np.sign(round(sicker - healthier, 1)) == np.sign(slope)


@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    shares=st.lists(st.floats(0.0, 0.33), min_size=3, max_size=3),
    seed=st.integers(0, 100),
)
def test_combinations_hold_to_a_patient_among_the_complete(
    counts: list[int], shares: list[float], seed: int
) -> None:
    kept_KL = np.array([[True, False, False], [True, True, False], [False, True, True]])
    num = sum(counts)
    present_NL = np.ones((num, 3), bool)
    share_K = np.array(shares)
    hidden_NL = draw_combinations(present_NL, kept_KL, share_K, ids_N=ids(num), seed=seed)
    left_NL = present_NL & ~hidden_NL
    assert left_NL.any(axis=1).all()
    for kept_L, share in zip(kept_KL, shares, strict=True):
        assert abs((left_NL == kept_L).all(axis=1).sum() - share * num) < 1 + 1e-6


def test_who_lacks_a_modality_of_a_combination_gets_another_one() -> None:
    present_NL = np.tile([[True, True, True], [True, False, True], [False, True, False]], (300, 1))
    kept_KL = np.array([[True, True, False], [False, False, True]])
    left_NL = present_NL & ~draw_combinations(
        present_NL, kept_KL, np.array([0.5, 0.5]), ids_N=ids(900), seed=0
    )
    complete, lacking, single = (left_NL[start::3] for start in range(3))
    assert (complete == kept_KL[0]).all(axis=1).mean() == pytest.approx(0.5, abs=0.01)
    assert (lacking == kept_KL[1]).all()  # the only one that fits
    assert (single == [False, True, False]).all()  # none fits: left as it is


def test_zipf_draws_a_long_tail_over_all_combinations() -> None:
    kept_KL, share_K = zipf_combinations(4, 1.2, None, seed=0)
    assert len(np.unique(kept_KL, axis=0)) == len(kept_KL) == 15
    assert kept_KL.any(axis=1).all()
    assert share_K[0] / share_K[7] == pytest.approx(8**1.2)
    wide, _ = zipf_combinations(40, 1.0, 500, seed=0)
    assert len(np.unique(wide, axis=0)) == 500
    assert sentence(lambda: zipf_combinations(13, 1.0, None, seed=0)) == (
        "[zipf] over 13 modalities has 2^13 - 1 combinations: set num, at most 4096"
    )


def test_the_order_of_patients_plays_no_part_and_the_seed_does() -> None:
    rng = np.random.default_rng(0)
    present_NL = rng.random((500, 4)) < 0.7
    present_NL[:, 0] = True
    order = rng.permutation(500)
    names, share_L = tuple("abcd"), np.full(4, 0.3)
    safe_N, offset_N = np.zeros(500, bool), rng.standard_normal(500)

    def draw(rows: np.ndarray, seed: int) -> np.ndarray:
        return draw_each(
            present_NL[rows],
            safe_N,
            offset_N[rows],
            share_L,
            ids_N=ids(500)[rows],
            names=names,
            seed=seed,
        )

    everyone = np.arange(500)
    np.testing.assert_array_equal(draw(everyone, 0)[order], draw(order, 0))
    assert (draw(everyone, 0) != draw(everyone, 1)).any()
    kept_KL, share_K = np.eye(4, dtype=bool), np.full(4, 0.25)
    one, other = (
        draw_combinations(present_NL[rows], kept_KL, share_K, ids_N=ids(500)[rows], seed=0)
        for rows in (everyone, order)
    )
    np.testing.assert_array_equal(one[order], other)


# The folder


ALL = {
    "seed": 7,
    "patients": "any",
    "random": {"share": {"admission": 0.2, "vitals": 0.4, "labs": 0.5, "diagnoses": 0.3}},
}
ALL["random"]["share"] |= {"drugs": 0.4, "notes": 0.4, "chest_xray": 0.5, "head_ct": 0.5}
ALL["random"]["share"] |= {"ecg": 0.5, "echo": 0.5}


@pytest.fixture(scope="module")
def masked(hospital: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masked") / "cohort"
    prepare("cohort", folder, root=hospital, mask=mask_from_dict(ALL))
    return folder


def test_what_is_read_is_what_was_to_be_for_all_kinds(hospital: Path, masked: Path) -> None:
    before, after = read_cohort(hospital), read_cohort(masked)
    np.testing.assert_array_equal(before.ids, after.ids)
    np.testing.assert_array_equal(before.label_N, after.label_N)
    names = before.spec.modality_names
    share = ALL["random"]["share"]
    hidden_NM = draw_each(
        before.present_NM,
        np.zeros(len(before), bool),
        np.zeros(len(before)),
        np.array([share[name] for name in names]),
        ids_N=before.ids,
        names=names,
        seed=7,
    )
    np.testing.assert_array_equal(after.present_NM, before.present_NM & ~hidden_NM)
    assert hidden_NM.any(axis=0).all()
    counts = json.loads((masked / "manifest.json").read_text())["counts"]["mask"]
    for name, num in zip(names, after.present_NM.sum(axis=0), strict=True):
        assert counts["observed"][name]["after"] == num
    groups = Groups.fit(after.present_NM, names)
    for name, num in zip(groups.names(groups.patterns_GM), groups.counts_G, strict=True):
        assert counts["combinations"][name]["after"] == num
    assert sum(item["before"] for item in counts["combinations"].values()) == PATIENTS


def test_nothing_else_changes(hospital: Path, masked: Path) -> None:
    """Of the tables cell by cell; the masked cohort lies elsewhere and still finds its files."""
    before, after = read_cohort(hospital), read_cohort(masked)
    present = dict(zip(after.spec.modality_names, after.present_NM.T, strict=True))
    main, changed = (pd.read_parquet(f / "patients.parquet") for f in (hospital, masked))
    assert list(main) == list(changed)
    for name, modality in before.spec.modalities.items():
        for column in modality.feature_columns:
            is_path = column in ("head_ct", "ecg")
            for row, (old, new) in enumerate(zip(main[column], changed[column], strict=True)):
                if not present[name][row]:
                    assert new is None or (np.ndim(new) == 0 and pd.isna(new))
                elif is_path:
                    assert new == str(hospital / old)
                else:
                    np.testing.assert_array_equal(new, old)
    for column in ("stay_id", "subject_id", "died"):
        assert main[column].equals(changed[column])
    for file in ("labs.csv", "notes.parquet", "drugs.parquet"):
        read = pd.read_csv if file.endswith("csv") else pd.read_parquet
        old, new = read(hospital / file), read(masked / file)
        seen = set(before.ids[present[file.partition(".")[0]]])
        expected = old[old["stay_id"].isin(seen)].reset_index(drop=True)
        pd.testing.assert_frame_equal(new, expected)
    old, new = (pq.read_schema(f / "notes.parquet") for f in (hospital, masked))
    assert old == new


def test_the_same_seed_gives_the_same_bytes_and_what_is_not_masked_keeps_its_own(
    hospital: Path, tmp_path: Path
) -> None:
    mask = mask_from_dict({"patients": "any", "random": {"share": {"labs": 0.3, "vitals": 0.2}}})
    for name in ("one", "two"):
        prepare("toy-hospital", tmp_path / name, patients=PATIENTS, seed=3, mask=mask)
    for file in hospital.glob("*.*"):
        one, two = (tmp_path / name / file.name for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes(), file.name
        is_touched = file.name in ("labs.csv", "patients.parquet", "manifest.json")
        assert (one.read_bytes() == file.read_bytes()) != is_touched, file.name


def small(folder: Path, num: int = 200) -> Path:
    """A cohort with shards, CSV.gz, a table that two modalities share, and quirks of text."""
    folder.mkdir()
    number = np.arange(num)
    main = pd.DataFrame({"id": number, "y": number % 2, "severity": number / num})
    main["split"] = np.array(["train", "val", "test", "train", "train"])[number // 2 % 5]
    main["a"] = np.where(number % 3 > 0, number * 1.0, np.nan)
    main["b"] = [f'say "{n % 50}", NA' for n in number]
    (folder / "shards").mkdir()
    for shard in range(2):
        part = main[number // (num // 2) == shard]
        part.to_parquet(folder / "shards" / f"{shard}.parquet", index=False)
    rows = pd.DataFrame({"id": number.repeat(2), "code": [f"c{n % 5}" for n in range(2 * num)]})
    rows["time"] = np.tile([1.0, 5.0], num)
    rows = pd.concat([rows, pd.DataFrame({"id": [99999], "code": ["c0"], "time": [1.0]})])
    rows["free"] = 'a "word", and\na line'
    with gzip.open(folder / "codes.csv.gz", "wt") as file:
        file.write(rows.to_csv(index=False))
    (folder / "cohort.toml").write_text(
        '[cohort]\nname = "small"\ntable = "shards/*.parquet"\nid = "id"\nlabel = "y"\n'
        'task = "binary"\n[split]\ncolumn = "split"\n'
        '[modalities.a]\nkind = "tabular"\ncolumns = ["a"]\n'
        '[modalities.b]\nkind = "tabular"\ncolumns = ["b"]\n'
        '[modalities.early]\nkind = "codes"\ntable = "codes.csv.gz"\ntime = "time"\nuntil = 2.0\n'
        '[modalities.late]\nkind = "codes"\ntable = "codes.csv.gz"\ntime = "time"\nsince = 2.0\n'
    )
    return folder


def masked_small(tmp_path: Path, mask: dict[str, Any]) -> Path:
    root = small(tmp_path / "root")
    prepare("cohort", tmp_path / "out", root=root, mask=mask_from_dict(mask))
    return tmp_path / "out"


def test_a_table_of_two_modalities_is_parted_and_no_hidden_row_is_left_on_disk(
    tmp_path: Path,
) -> None:
    out = masked_small(tmp_path, {"patients": "any", "random": {"share": {"early": 0.5}}})
    before, after = read_cohort(tmp_path / "root"), read_cohort(out)
    early = after.spec.modality_names.index("early")
    assert 70 < after.present_NM[:, early].sum() < 130
    others = [0, 1, 3]
    np.testing.assert_array_equal(before.present_NM[:, others], after.present_NM[:, others])
    assert not (out / "codes.csv.gz").exists()
    tables = [pd.read_csv(out / name / "codes.csv.gz") for name in ("early", "late")]
    original = pd.read_csv(tmp_path / "root" / "codes.csv.gz")
    pd.testing.assert_frame_equal(tables[1], original)
    seen = {*after.ids[after.present_NM[:, early]].tolist(), 99999}
    assert set(tables[0]["id"]) == seen
    assert set(tables[0]["free"]) == {'a "word", and\na line'}


def test_shards_of_one_name_and_signs_in_names_of_modalities_part_a_shared_table(
    tmp_path: Path,
) -> None:
    """Both shards are rows.csv, in a folder that has the name of one of the modalities."""
    root = small(tmp_path / "root")
    rows = pd.read_csv(root / "codes.csv.gz")
    for shard, part in rows.groupby(rows["id"] // 100):
        (root / "early" / str(shard)).mkdir(parents=True)
        part.to_csv(root / "early" / str(shard) / "rows.csv", index=False)
    (root / "codes.csv.gz").unlink()
    content = (root / "cohort.toml").read_text().replace("codes.csv.gz", "early/*/rows.csv")
    content = content.replace("[modalities.late]", "[modalities.'../[late]*']")
    (root / "cohort.toml").write_text(content)
    share = {"early": 0.5, "../[late]*": 0.5}
    mask = mask_from_dict({"patients": "any", "random": {"share": share}})
    prepare("cohort", tmp_path / "out", root=root, mask=mask)
    before, after = read_cohort(root), read_cohort(tmp_path / "out")
    for name in share:
        column = after.spec.modality_names.index(name)
        was_N, is_N = before.present_NM[:, column], after.present_NM[:, column]
        assert was_N.all()
        assert 30 < is_N[:100].sum() < 70
        assert 30 < is_N[100:].sum() < 70
        files = find_files(after.spec.modalities[name].table, tmp_path / "out")
        on_disk = pd.concat([pd.read_csv(file) for file in files])
        assert len(files) == 3
        assert set(on_disk["id"]) == {*after.ids[is_N].tolist(), 99999}
    assert len(list(tmp_path.glob("out/**/*rows.csv"))) == 6, "no table as it was"
    assert not list(tmp_path.glob("*late*"))


def test_who_has_blank_notes_or_files_of_other_hours_only_is_not_observed(tmp_path: Path) -> None:
    root = small(tmp_path / "root")
    number = np.arange(200)
    words = np.where(number % 2 > 0, " ", "a note")
    pd.DataFrame({"id": number, "text": words}).to_csv(root / "notes.csv", index=False)
    np.save(root / "wave.npy", np.zeros((2, 100), np.float32))
    waves = pd.DataFrame({"id": number, "path": "wave.npy", "hour": number % 5})
    waves.to_csv(root / "waves.csv", index=False)
    with (root / "cohort.toml").open("a") as file:
        file.write(
            '[modalities.notes]\nkind = "text"\ntable = "notes.csv"\n[modalities.waves]\n'
            'kind = "signal"\ntable = "waves.csv"\ntime = "hour"\nsince = 1\nuntil = 3\n'
            'leads = ["I", "II"]\nsource_rate = 100.0\nseconds = 1.0\n'
        )
    seen, cohort = observe(load_spec(root)), read_cohort(root)
    np.testing.assert_array_equal(seen.present_NM, cohort.present_NM)
    assert seen.present_NM.sum(axis=0)[-2:].tolist() == [100, 120]


def test_only_complete_patients_lose_and_the_others_may_be_left_out(tmp_path: Path) -> None:
    """Of a, every third patient has none: the law is that of a complete-case experiment."""
    mask = {"modalities": ["a", "b"], "combinations": {"a": 0.25, "b": 0.25}}
    out = masked_small(tmp_path, {**mask, "splits": ["train"]})
    before, after = read_cohort(tmp_path / "root"), read_cohort(out)
    changed_N = (before.present_NM != after.present_NM).any(axis=1)
    may_N = before.present_NM[:, 0] & (before.split == "train")
    assert not changed_N[~may_N].any()
    assert changed_N.sum() == pytest.approx(may_N.sum() / 2, abs=2)
    manifest = prepare(
        "cohort",
        tmp_path / "dropped",
        root=tmp_path / "root",
        mask=mask_from_dict({**mask, "others": "drop"}),
    )
    dropped = read_cohort(tmp_path / "dropped")
    assert set(dropped.ids) == set(before.ids[before.present_NM[:, 0]])
    assert manifest.flow[-1].num_left == len(dropped)
    assert manifest.flow[-1].num_excluded == len(before) - len(dropped)
    present = dropped.present_NM
    assert present[:, 2:].all()
    counts = manifest.counts["mask"]["combinations"]
    assert counts["a+b+early+late"]["before"] == len(dropped)
    for name in ("a+early+late", "b+early+late"):
        assert abs(counts[name]["after"] - len(dropped) / 4) < 1
    left = pd.read_csv(tmp_path / "dropped" / "codes.csv.gz")
    assert set(left["id"]) == {*dropped.ids.tolist(), 99999}


def test_kept_modalities_are_joined_and_the_rest_is_gone(hospital: Path, tmp_path: Path) -> None:
    mask = {
        "patients": "any",
        "keep": {
            "history": ["admission", "vitals", "habits"],
            "codes": ["diagnoses"],
            "text": ["note*"],
        },
        "random": {"share": {"text": 0.2}},
    }
    manifest = prepare("cohort", tmp_path / "out", root=hospital, mask=mask_from_dict(mask))
    before, after = read_cohort(hospital), read_cohort(tmp_path / "out")
    assert after.spec.modality_names == ("history", "codes", "text")
    lacking = 'the mask: history is without "habits", which the cohort does not have'
    assert manifest.notes[0] == lacking
    history_N = before.present_NM[:, :2].any(axis=1)
    codes_N = before.present_NM[:, before.spec.modality_names.index("diagnoses")]
    was = dict(zip(before.ids, np.column_stack([history_N, codes_N]), strict=True))
    np.testing.assert_array_equal(after.present_NM[:, :2], [was[name] for name in after.ids])
    assert not list((tmp_path / "out").glob("labs*"))
    assert (
        manifest.counts["mask"]["observed"]["text"]["after"]
        < (manifest.counts["mask"]["observed"]["text"]["before"])
    )


def test_long_tables_of_one_form_are_joined_as_shards(tmp_path: Path) -> None:
    root = small(tmp_path / "root")
    content = (root / "cohort.toml").read_text()
    content = content.replace("until = 2.0\n", "").replace("since = 2.0\n", "")
    (root / "cohort.toml").write_text(
        content.replace(
            '[modalities.late]\nkind = "codes"\ntable = "codes.csv.gz"',
            '[modalities.late]\nkind = "codes"\ntable = "more.csv.gz"',
        )
    )
    (root / "more.csv.gz").write_bytes((root / "codes.csv.gz").read_bytes())
    mask = {"keep": {"codes": ["early", "late"], "b": ["b"]}, "combinations": {"b": 0.5}}
    prepare("cohort", tmp_path / "out", root=root, mask=mask_from_dict(mask))
    cohort = read_cohort(tmp_path / "out")
    assert cohort.present_NM.sum(axis=0).tolist() == [100, 200]
    events = cohort.values["codes"].events
    assert set(events.counts_N[cohort.present_NM[:, 0]]) == {4}
    assert sorted(file.name for file in (tmp_path / "out" / "codes").iterdir()) == [
        "000-early.csv.gz",
        "001-late.csv.gz",
    ]


@pytest.mark.parametrize("kind", ["text", "times"])
def test_series_of_numbers_and_of_words_are_joined_and_nothing_else_that_differs(
    kind: str, tmp_path: Path
) -> None:
    """The numbers stay numbers, for what a variable holds is found out by variable."""
    root, number = small(tmp_path / "root"), np.arange(200)
    words = np.array(["nasal cannula", "none"], dtype=object)[number % 2]
    values = {
        "early": (number / 10).astype(np.float32),
        "late": words if kind == "text" else pd.to_datetime(number, unit="D"),
    }
    values["early"][:3] = np.nan
    for name, column in values.items():
        rows = pd.DataFrame({"id": number, "time": 1.0, "variable": name, "value": column})
        rows.to_parquet(root / f"{name}.parquet", index=False)
    content = (root / "cohort.toml").read_text().split("[modalities.early]")[0]
    for name in values:
        content += f'[modalities.{name}]\nkind = "series"\ntable = "{name}.parquet"\n'
    (root / "cohort.toml").write_text(content)
    mask = {"patients": "any", "keep": {"all": ["early", "late"], "b": ["b"]}}
    mask = mask_from_dict({**mask, "random": {"share": {"b": 0.1}}})

    def join() -> None:
        prepare("cohort", tmp_path / "out", root=root, mask=mask)

    if kind == "times":
        told = sentence(join)
        assert "the mask: [keep] all joins tables that do not fit together (" in told
        assert "join those that are alike" in told
        assert not (tmp_path / "out").exists()
        return
    join()
    raw = read_cohort(tmp_path / "out").values["all"]
    facts = raw.describe()
    assert facts["variables"]["early"]["max"] == pytest.approx(19.9)
    assert raw.num_empty_N.sum() == 3
    files = sorted(tmp_path.glob("out/all/*.parquet"))
    written = [text for file in files for text in pq.read_table(file)["value"].to_pylist()]
    assert written == [*[None] * 3, *[f"{n / 10:g}" for n in number[3:]], *words]


def test_shards_elsewhere_are_all_kept_whatever_is_before_their_suffix(tmp_path: Path) -> None:
    root = small(tmp_path / "root")
    (root / "codes.csv.gz").unlink()
    (tmp_path / "else").mkdir()
    for shard in range(2):
        number = np.arange(100 * shard, 100 * (shard + 1))
        rows = pd.DataFrame({"id": number, "code": "c", "time": 1.0})
        rows.to_csv(tmp_path / "else" / f"codes.202{shard}.csv", index=False)
    content = (root / "cohort.toml").read_text().split("[modalities.late]")[0]
    content = content.replace('"codes.csv.gz"', f'"{tmp_path.as_posix()}/else/codes.*.csv"')
    (root / "cohort.toml").write_text(content, encoding="utf-8-sig")
    mask = {"patients": "any", "combinations": {"b": 0.5}}
    prepare("cohort", tmp_path / "out", root=root, mask=mask_from_dict(mask))
    cohort = read_cohort(tmp_path / "out")
    assert cohort.spec.modalities["early"].table == "early/*.csv"
    is_early_N = cohort.present_NM[:, cohort.spec.modality_names.index("early")]
    assert 30 < is_early_N[:100].sum() < 70
    assert 30 < is_early_N[100:].sum() < 70


def test_missingness_by_severity_goes_by_the_column_and_the_built_in_cohort_can_be_masked(
    tmp_path: Path,
) -> None:
    mask = {"patients": "any", "severity": {"column": "age", "slope": 2.0, "share": 0.3}}
    prepare("cohort", tmp_path / "out", root=Path("support2"), mask=mask_from_dict(mask))
    before, after = load_source("support2"), read_cohort(tmp_path / "out")
    lost_N = (before.present_NM & ~after.present_NM).sum(axis=1) / before.present_NM.sum(axis=1)
    years_N = before.values["demographics"]["age"].to_numpy()
    assert lost_N.mean() == pytest.approx(0.3, abs=0.03)
    old, young = (years_N > np.quantile(years_N, 0.8), years_N < np.quantile(years_N, 0.2))
    assert lost_N[old].mean() > lost_N[young].mean() + 0.3


# Errors


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed = 0", ": needs exactly one of [random], [combinations], [zipf], [severity], got "
                     "none"),
        ("[random]\nshare = 0.3\n[zipf]\nexponent = 1.0", "got [random] and [zipf]"),
        ("[random]\nshare = 1.0", ": random.share must be at least 0 and below 1, got 1: to hide a "
                                  "modality from everyone, leave it out of [keep]"),
        ("[rndom]\nshare = 0.3", ' has the unknown key "rndom"; did you mean "random"?'),
        ('[combinations]\nlabs = 0.7\n"labs+text" = 0.5',
         ": combinations must have shares that sum to at most 1, got 1.2"),
        ('patients = "some"\n[zipf]\nexponent = 1.0', "patients should be 'complete' or 'any'"),
        ('patients = "any"\nothers = "drop"\n[zipf]\nexponent = 1.0',
         'has others = "drop", which needs patients = "complete"'),
        ("[random", " is not valid TOML"),
    ],
)  # fmt: skip
def test_a_spec_that_cannot_be_is_refused_by_its_name(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mask.toml"
    file.write_text(text)
    told = sentence(lambda: load_mask(file))
    assert told.startswith(str(file))
    assert said in told


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (
            {"random": {"share": {"labz": 0.2}}},
            'the mask: "labz" is no modality that may be hidden; did you mean "late"?',
        ),
        (
            {"modalities": ["early", "a"], "combinations": {"earl": 0.2}},
            '"earl" is no modality that may be hidden; did you mean "early"?',
        ),
        (
            {"keep": {"x": ["a", "early"]}, "random": {"share": 0.1}},
            "joins modalities that differ in kind (a and early)",
        ),
        (
            {"keep": {"x": ["earli"]}, "random": {"share": 0.1}},
            '[keep] x: no modality of the cohort is "earli"; did you mean "early"?',
        ),
        (
            {"keep": {"x": ["a"], "y": ["*"]}, "random": {"share": 0.1}},
            '[keep] has "a" in x and in y: leave it in one of them',
        ),
        (
            {"severity": {"column": "b", "slope": 1.0, "share": 0.1}},
            'column "b" holds categories, and the [severity] of the mask needs numbers',
        ),
        (
            {"severity": {"column": "sverity", "slope": 1.0, "share": 0.1}},
            'has no column "sverity", which the [severity] of the mask names; did you mean',
        ),
        (
            {"patients": "any", "combinations": {"b": 1.0}},
            'nobody would be left who is observed in "a"',
        ),
    ],
)
def test_a_mask_that_does_not_fit_leaves_no_cohort(
    mask: dict[str, Any], said: str, tmp_path: Path
) -> None:
    assert said in sentence(lambda: masked_small(tmp_path, mask))
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_splits_need_a_column_of_them(hospital: Path, tmp_path: Path) -> None:
    mask = mask_from_dict({"patients": "any", "splits": ["test"], "random": {"share": 0.1}})
    told = sentence(lambda: prepare("cohort", tmp_path / "out", root=hospital, mask=mask))
    assert "splits needs a cohort whose [split] names a column" in told


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, mask = small(tmp_path / "root"), tmp_path / "mask.toml"
    mask.write_text('patients = "any"\n[random]\nshare = 0.2\n')
    arguments = ["--root", root, "--mask", mask, "--out", tmp_path / "out"]
    assert remind(monkeypatch, "prepare", "cohort", *arguments) == 0
    said = capsys.readouterr().out
    assert "masked on purpose: " in said
    assert "of 200 patients that may be masked lack something now (a " in said
    assert load_spec(tmp_path / "out").cohort.name == "small"
