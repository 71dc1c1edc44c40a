"""Which ICD codes make a phenotype: prefixes of codes without dots, of ICD-9-CM and ICD-10-CM.

After the groups of Harutyunyan et al., "Multitask learning and benchmarking with clinical time
series data", Scientific Data 2019, which rest on HCUP's Clinical Classifications Software.
"""

Codes = tuple[str, ...]

PHENOTYPES: dict[str, tuple[Codes, Codes]] = {
    "sepsis": (("038", "99591", "99592", "78552"), ("A40", "A41", "R652")),
    "shock": (("7855", "9980"), ("R57", "R6521", "T8112")),
    "acute-kidney-failure": (("584",), ("N17",)),
    "chronic-kidney-disease": (("585",), ("N18",)),
    "respiratory-failure": (
        ("5185", "51881", "51882", "51884"),
        ("J80", "J952", "J953", "J9582", "J960", "J962", "J969"),
    ),
    "pneumonia": (
        ("480", "481", "482", "483", "484", "485", "486"),
        ("J12", "J13", "J14", "J15", "J16", "J17", "J18"),
    ),
    "copd": (("491", "492", "496"), ("J41", "J42", "J43", "J44")),
    "heart-failure": (
        ("428", "40201", "40211", "40291"),
        ("I50", "I110", "I130", "I132"),
    ),
    "myocardial-infarction": (("410",), ("I21", "I22")),
    "atrial-fibrillation": (("42731",), ("I480", "I481", "I482", "I4891")),
    "stroke": (
        (
            *("430", "431", "432", "43301", "43311", "43321", "43331", "43381", "43391"),
            *("43401", "43411", "43491", "436"),
        ),
        ("I60", "I61", "I62", "I63"),
    ),
    "gastrointestinal-bleeding": (("578",), ("K920", "K921", "K922")),
    "diabetes": (("250",), ("E10", "E11", "E13")),
}
"""Name → prefixes of ICD-9-CM, prefixes of ICD-10-CM."""

GROUPS: dict[str, tuple[Codes, Codes]] = {
    "infection": (("0", "10", "11", "12", "13"), ("A", "B")),
    "neoplasm": (
        ("14", "15", "16", "17", "18", "19", "20", "21", "22", "23"),
        ("C", "D0", "D1", "D2", "D3", "D4"),
    ),
    "circulatory": (("39", "40", "41", "42", "43", "44", "45"), ("I",)),
    "respiratory": (("46", "47", "48", "49", "50", "51"), ("J",)),
    "digestive": (("52", "53", "54", "55", "56", "57"), ("K",)),
    "injury": (("8", "9"), ("S", "T")),
}
"""Group of the principal diagnosis by its ICD chapter → prefixes; all others are "other"."""


def matches(prefixes: tuple[Codes, Codes], code: str = "icd_code") -> str:
    """SQL that is true where a code begins with one of the prefixes of its version."""
    by_version = (
        f"icd_version = {version} AND ({_begins(code, of_version)})"
        for version, of_version in zip((9, 10), prefixes, strict=True)
    )
    return " OR ".join(f"({part})" for part in by_version)


def group_case() -> str:
    """SQL that gives the group of a code."""
    whens = " ".join(f"WHEN {matches(codes)} THEN '{name}'" for name, codes in GROUPS.items())
    return f"CASE {whens} ELSE 'other' END"


def _begins(code: str, prefixes: Codes) -> str:
    return " OR ".join(f"starts_with({code}, '{prefix}')" for prefix in prefixes)
