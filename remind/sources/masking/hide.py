"""A mask applied to a cohort folder: values out of its tables, and what was done on record."""

# N patients, M modalities, L listed modalities

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from remind.cohort import CohortSpec, Groups, load_spec
from remind.errors import InputError, did_you_mean
from remind.sources.manifest import Manifest
from remind.sources.masking.draw import draw_combinations, draw_each, zipf_combinations
from remind.sources.masking.keep import keep_modalities
from remind.sources.masking.layout import (
    id_column,
    places,
    read_content,
    table_files,
    write_content,
)
from remind.sources.masking.observe import Seen, observe
from remind.sources.masking.spec import MaskSpec, Share
from remind.sources.masking.tables import Patients, rewrite, without_rows, without_values


def apply(folder: Path, mask: MaskSpec, manifest: Manifest) -> None:
    """Hide values of a cohort folder, in place, and record it.

    Hidden values are null in the cohort's table, and their rows are gone from long tables. Files
    that the tables named stay where they are.

    Args:
        folder: with a cohort.toml.
        mask: what to hide.
        manifest: of the cohort; gets the options, the counts, and steps of the flow.

    Raises:
        InputError: the mask does not fit the cohort, or the cohort cannot be read.
    """
    spec = load_spec(folder)
    before = table_files(spec)
    if mask.keep is not None:
        content = read_content(spec)
        kept, notes = keep_modalities(content["modalities"], mask.keep, folder)
        content["modalities"] = kept
        manifest.notes += notes
        write_content(folder, content)
        spec = load_spec(folder)
    seen = observe(spec, mask.severity.column if mask.severity else None)
    listed_L = _listed(mask, spec)
    is_complete_N = seen.present_NM[:, listed_L].all(axis=1)
    is_left_N: np.ndarray = np.any(seen.present_NM, axis=1) & (
        is_complete_N | (mask.others == "keep")
    )
    may_N = is_left_N & (is_complete_N | (mask.patients == "any")) & _in_splits(mask, seen)
    if not may_N.any():
        names = " and ".join(np.array(spec.modality_names)[listed_L])
        of = f"of the splits {', '.join(mask.splits)} " if mask.splits else ""
        raise InputError(f"the mask: no patient {of}is observed in {names}: nothing can be hidden")
    hidden_NM = np.zeros_like(seen.present_NM)
    rows = np.flatnonzero(may_N)
    hidden_NM[np.ix_(rows, listed_L)] = _draw(mask, spec, seen, rows, listed_L)
    _check_left(spec, seen.present_NM & ~hidden_NM & is_left_N[:, None])
    _take_out(spec, folder, seen, hidden_NM, ~is_left_N)
    for file in before - table_files(load_spec(folder)):
        if file.is_relative_to(folder):
            file.unlink()  # it holds what is hidden, or what is not kept
    _record(manifest, mask, spec, seen.present_NM, hidden_NM, is_left_N, may_N)


def _any(present_NM: np.ndarray) -> np.ndarray:
    return np.asarray(present_NM.any(axis=1))


def _listed(mask: MaskSpec, spec: CohortSpec) -> np.ndarray:
    """Indices (L,) of the modalities that may be hidden."""
    names = mask.modalities or list(spec.modality_names)
    return np.array([_index(name, spec.modality_names) for name in names])


def _index(name: str, names: tuple[str, ...]) -> int:
    if name not in names:
        hint = did_you_mean(name, names) or f" (there are {', '.join(names)})"
        raise InputError(f'the mask: "{name}" is no modality that may be hidden{hint}')
    return names.index(name)


def _in_splits(mask: MaskSpec, seen: Seen) -> np.ndarray:
    if mask.splits is None:
        return np.ones(len(seen), dtype=bool)
    if seen.split_N is None:
        raise InputError(
            "the mask: splits needs a cohort whose [split] names a column, for fractions are "
            "drawn when it is read: leave splits out"
        )
    return np.isin(seen.split_N, mask.splits)


def _draw(
    mask: MaskSpec, spec: CohortSpec, seen: Seen, rows: np.ndarray, listed_L: np.ndarray
) -> np.ndarray:
    """Hidden, bool (rows, L)."""
    names = tuple(spec.modality_names[m] for m in listed_L)
    present_NL = seen.present_NM[np.ix_(rows, listed_L)]
    ids_N = seen.names[rows]
    if mask.combinations is not None:
        kept_KL = np.array([_combination(name, names) for name in mask.combinations])
        share_K = np.array(list(mask.combinations.values()))
        return draw_combinations(present_NL, kept_KL, share_K, ids_N=ids_N, seed=mask.seed)
    if mask.zipf is not None:
        drawn = zipf_combinations(len(names), mask.zipf.exponent, mask.zipf.num, mask.seed)
        return draw_combinations(present_NL, *drawn, ids_N=ids_N, seed=mask.seed)
    part = mask.random or mask.severity
    assert part is not None
    is_safe_N = _any(np.delete(seen.present_NM[rows], listed_L, axis=1))
    return draw_each(
        present_NL,
        is_safe_N,
        _offset(mask, seen, rows),
        _shares(part.share, names),
        ids_N=ids_N,
        names=names,
        seed=mask.seed,
    )


def _combination(name: str, names: tuple[str, ...]) -> np.ndarray:
    """The combination of a name such as "labs+text", bool (L,)."""
    kept_L = np.zeros(len(names), dtype=bool)
    kept_L[[_index(part.strip(), names) for part in name.split("+")]] = True
    return kept_L


def _shares(share: Share, names: tuple[str, ...]) -> np.ndarray:
    if not isinstance(share, dict):
        return np.full(len(names), share)
    share_L = np.zeros(len(names))
    for name, value in share.items():
        share_L[_index(name, names)] = value
    return share_L


def _offset(mask: MaskSpec, seen: Seen, rows: np.ndarray) -> np.ndarray:
    """slope * z of the patients, 0 without severity."""
    if mask.severity is None or seen.severity_N is None:
        return np.zeros(len(rows))
    severity_N = seen.severity_N[rows]
    if np.isnan(severity_N).all() or np.nanstd(severity_N) == 0:
        raise InputError(
            f'the mask: the column "{mask.severity.column}" of [severity] is the same for all who '
            "may be masked: name a column that differs"
        )
    z_N = (severity_N - np.nanmean(severity_N)) / np.nanstd(severity_N)
    return mask.severity.slope * np.nan_to_num(z_N)


def _check_left(spec: CohortSpec, present_NM: np.ndarray) -> None:
    for name, has_N in zip(spec.modality_names, present_NM.T, strict=True):
        if not has_N.any():
            raise InputError(
                f'the mask: nobody would be left who is observed in "{name}": lower its share, '
                "or leave it out of the cohort by [keep]"
            )


def _take_out(
    spec: CohortSpec, folder: Path, seen: Seen, hidden_NM: np.ndarray, gone_N: np.ndarray
) -> None:
    """Rewrite the tables that hold anything hidden or anyone who is gone."""
    patients = Patients(ids=seen.ids)
    names = list(spec.modality_names)
    content, is_renamed = read_content(spec), False
    hidden = {
        column: hidden_NM[:, m]
        for m, modality in enumerate(spec.modalities.values())
        for column in modality.feature_columns
        if hidden_NM[:, m].any()
    }
    if hidden or gone_N.any():
        edit = without_values(patients, spec.cohort.id, hidden, gone_N)
        files, pattern = places(spec, spec.cohort.table, folder, "patients")
        for file, target in files.items():
            rewrite(file, target, edit)
        is_renamed |= pattern != spec.cohort.table
        content["cohort"]["table"] = pattern
    for table, owners in spec.long_tables.items():
        own = {owner: gone_N | hidden_NM[:, names.index(owner)] for owner in owners}
        is_shared = any((gone != own[owners[0]]).any() for gone in own.values())
        for owner, lost_N in own.items():
            if not lost_N.any() and not is_shared:
                continue
            files, pattern = places(spec, table, folder, owner, is_shared=is_shared)
            for file, target in files.items():
                rewrite(file, target, without_rows(patients, id_column(spec, owner), lost_N))
            is_renamed |= pattern != table
            content["modalities"][owner]["table"] = pattern
    if is_renamed:
        write_content(folder, content)


def _record(
    manifest: Manifest,
    mask: MaskSpec,
    spec: CohortSpec,
    present_NM: np.ndarray,
    hidden_NM: np.ndarray,
    is_left_N: np.ndarray,
    may_N: np.ndarray,
) -> None:
    """Options, counts, steps and a sentence."""
    before_NM, hidden_NM = present_NM[is_left_N], hidden_NM[is_left_N]
    after_NM, num_may = before_NM & ~hidden_NM, int(may_N.sum())
    if not is_left_N.all():
        what = "observed in all that may be hidden" if mask.others == "drop" else "observed in any"
        manifest.step(f"{what} (mask)", len(before_NM))
    observed: dict[str, Any] = {
        name: {"before": int(before), "after": int(after)}
        for name, before, after in zip(
            spec.modality_names, before_NM.sum(axis=0), after_NM.sum(axis=0), strict=True
        )
    }
    counts = [Counter(_names(spec, rows_NM)) for rows_NM in (before_NM, after_NM)]
    order = sorted({*counts[0], *counts[1]}, key=lambda name: (-counts[1][name], name))
    manifest.options["mask"] = mask.to_dict()
    manifest.counts["mask"] = {
        "patients": len(before_NM),
        "may_be_masked": num_may,
        "masked": int(hidden_NM.any(axis=1).sum()),
        "observed": observed,
        "combinations": {
            name: {"before": counts[0][name], "after": counts[1][name]} for name in order
        },
    }
    shares = ", ".join(
        f"{name} {1 - item['after'] / item['before']:.1%}"
        for name, item in observed.items()
        if item["after"] < item["before"]
    )
    manifest.notes.append(
        f"masked on purpose: {hidden_NM.any(axis=1).sum():,} of {num_may:,} {manifest.unit} that "
        f"may be masked lack something now ({shares or 'nothing'}); {len(counts[0]):,} "
        f"combinations became {len(counts[1]):,}"
    )


def _names(spec: CohortSpec, present_NM: np.ndarray) -> list[str]:
    return Groups.fit(present_NM, spec.modality_names).names(present_NM)
