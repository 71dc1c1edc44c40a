"""The mask spec: a TOML file that says from whom what is hidden.

    seed = 0
    patients = "complete"         # only from patients observed in all listed modalities, or "any"
    others = "drop"               # leave out the patients that "complete" rules out, or "keep" them
    splits = ["train", "val"]     # only from patients of these splits [all]
    modalities = ["image", "text", "labs"]    # the listed ones: what may be hidden [all]

    [keep]                        # the modalities of the cohort that is written [all, as they are];
    image = ["chest_xray"]        # several of one kind become one; * stands for any letters, and
                                  # those that the cohort does not have are told
    text = ["radiology"]
    labs = ["labs_*"]

and exactly one of

    [random]                      # each listed modality on its own
    share = 0.3                   # or a share per modality: share = {image = 0.5, text = 0.2}

    [combinations]                # which of the listed modalities are left, and to what share
    "labs" = 0.3                  # of the patients; the rest of the patients keep theirs
    "image+labs" = 0.2

    [zipf]                        # all combinations in an order drawn by the seed, the r-th with
    exponent = 1.2                # a share that is proportional to r ** -exponent
    num = 20                      # only so many of them

    [severity]                    # as [random], but depending on a numeric column of the table
    column = "lactate"
    slope = 1.5                   # > 0: the higher the column, the more is hidden; in units of
    share = 0.3                   # log odds per standard deviation

A share is that of the patients observed in the modality, among those it may be hidden from. Every
patient keeps at least one modality, and shares hold with that. What is drawn for a patient depends
on the seed and the id alone: a second mask on a masked cohort needs another seed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from remind.sources.masking.sections import read_toml, section

MECHANISMS = ("random", "combinations", "zipf", "severity")
Share = float | dict[str, float]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _is_share(share: Share) -> Share:
    for value in share.values() if isinstance(share, dict) else [share]:
        if not 0 <= value < 1:
            raise ValueError(
                f"must be at least 0 and below 1, got {value:g}: to hide a modality from everyone, "
                "leave it out of [keep]"
            )
    return share


class RandomPart(_Part):
    """`[random]`: a share for all listed modalities, or for some by name."""

    share: Share

    _share = field_validator("share")(_is_share)


class SeverityPart(_Part):
    """`[severity]`: the log odds of being hidden are a + slope * z.

    z is the column in standard deviations from its mean, 0 where it is missing; a is such that the
    share holds.
    """

    column: str = Field(min_length=1)
    slope: float = Field(allow_inf_nan=False)
    share: Share

    _share = field_validator("share")(_is_share)


class ZipfPart(_Part):
    """`[zipf]`: combinations with shares proportional to rank ** -exponent."""

    exponent: float = Field(ge=0, le=10)
    num: int | None = Field(default=None, ge=1, le=4096)


class MaskSpec(_Part):
    """A checked mask spec; see the module for its keys."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    patients: Literal["complete", "any"] = "complete"
    others: Literal["keep", "drop"] = "keep"
    splits: list[Literal["train", "val", "test"]] | None = Field(default=None, min_length=1)
    modalities: list[str] | None = Field(default=None, min_length=1)
    keep: dict[str, Annotated[list[str], Field(min_length=1)]] | None = Field(
        default=None, min_length=1
    )
    random: RandomPart | None = None
    combinations: dict[str, float] | None = Field(default=None, min_length=1)
    zipf: ZipfPart | None = None
    severity: SeverityPart | None = None

    @field_validator("combinations")
    @classmethod
    def _shares(cls, shares: dict[str, float] | None) -> dict[str, float] | None:
        for name, share in (shares or {}).items():
            if not 0 <= share <= 1:
                raise ValueError(f'must have shares in 0..1, got {share:g} for "{name}"')
        if shares is not None and sum(shares.values()) > 1 + 1e-9:
            raise ValueError(f"must have shares that sum to at most 1, got {_sum(shares):g}")
        return shares

    @model_validator(mode="after")
    def _one_mechanism(self) -> Self:
        given = [name for name in MECHANISMS if getattr(self, name) is not None]
        if len(given) != 1:
            has = " and ".join(f"[{name}]" for name in given) or "none"
            wanted = ", ".join(f"[{name}]" for name in MECHANISMS)
            raise ValueError(f"needs exactly one of {wanted}, got {has}")
        if self.others == "drop" and self.patients == "any":
            raise ValueError('has others = "drop", which needs patients = "complete"')
        return self

    def to_dict(self) -> dict[str, Any]:
        """JSON; `mask_from_dict` reads it back."""
        return self.model_dump(exclude_none=True)


def load_mask(file: Path) -> MaskSpec:
    """Read a mask spec.

    Raises:
        InputError: it cannot be read, or says something that cannot be.
    """
    return mask_from_dict(read_toml(file, "a mask spec"), where=str(file))


def mask_from_dict(data: Mapping[str, Any], *, where: str = "the mask") -> MaskSpec:
    """Check the content of a mask spec; errors as `load_mask`."""
    return section(MaskSpec, data, where)


def _sum(shares: dict[str, float]) -> float:
    return round(sum(shares.values()), 6)
