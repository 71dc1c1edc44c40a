"""Units and limits: `quantities.csv`, the one table that says what a recorded number means.

A row of it says that an item of a table, reported in a unit, is a quantity of a modality:

    value = reported number * factor + offset, in `unit`, if that lies within low to high.

`itemid` is an item of labevents, chartevents, inputevents or outputevents, or a column of a table
that has one per quantity (ed/triage, ecg/machine_measurements), or a name (hosp/omr). `reported`
lists further spellings of the reported unit, divided by "|"; a row that converts takes these only,
one that does not takes `unit` too. An item has one or two rows, tried in order: the first whose
unit fits and whose limits hold the value is taken, so that a fraction of oxygen under an item for
percent is still read. A number without a unit counts as in the first row. `words` are results in
words with their number ("NEG=0"), or without one if the thing could not be assessed. The unit
"text" keeps the words themselves. `source` names where the limits are from.

What fits no row is left out and counted by the reason: another unit, outside the limits, no number,
not assessed. A comparator counts as its bound ("<0.1" is 0.1).
"""

import csv
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from remind.sources.raw import RawTables, scan

TEXT = "text"
MOST_RULES = 2  # of an item
KEPT = "kept"
SPACES = str.maketrans({" ": "", "µ": "u", "μ": "u"})


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A row of quantities.csv.

    Args:
        table, item: what is measured, as in "hosp/labevents" and "50813".
        place: among the rows of the item, from 0.
        quantity, modality, unit: of the value.
        spellings: of reported units that this row takes, in normal form; `default` is one.
        factor, offset, low, high: see above; limits are None for text.
        words: in upper case → number, or None.
    """

    table: str
    item: str
    place: int
    quantity: str
    modality: str
    unit: str
    spellings: frozenset[str]
    default: str
    factor: float
    offset: float
    low: float | None
    high: float | None
    words: dict[str, float | None]


def load_rules() -> list[Rule]:
    """The rows of quantities.csv."""
    file = resources.files("remind.sources.mimic_iv") / "quantities.csv"
    rules: list[Rule] = []
    num_of: dict[tuple[str, str], int] = defaultdict(int)
    for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines()):
        place = num_of[row["table"], row["itemid"]]
        num_of[row["table"], row["itemid"]] += 1
        rules.append(_rule(row, place))
    assert max(num_of.values()) <= MOST_RULES, "an item has more rows than judge() looks at"
    return rules


def modalities(rules: Iterable[Rule], table: str) -> list[str]:
    """The modalities of a table, in order."""
    return list(dict.fromkeys(rule.modality for rule in rules if rule.table == table))


def items(rules: Iterable[Rule], table: str) -> list[str]:
    """The items of a table, in order."""
    return list(dict.fromkeys(rule.item for rule in rules if rule.table == table))


def judge(tables: RawTables, rules: Iterable[Rule], table: str, raw: str, out: Path) -> list[Any]:
    """Turn recorded numbers into values, and write them with what became of each.

    Args:
        tables: do the work.
        rules: of all tables.
        table: that the rows are of, as in "hosp/labevents".
        raw: query with the columns stay_id, item, hours, number, written, reported.
        out: Parquet file to write: stay_id, hours, modality, quantity, value, written, fate and
            copies (how often the row was there).

    Returns:
        Rows (quantity, fate, number of rows), most frequent first.
    """
    own = [rule for rule in rules if rule.table == table]
    _make_rules(tables, own)
    tables.execute(
        f"CREATE OR REPLACE TEMP TABLE seen AS SELECT DISTINCT item, reported FROM ({raw})"
    )
    tables.execute(_CHOICE)
    tables.write(_VALUES.format(raw=raw), out)
    source = scan(out)
    return tables.execute(f"""
        SELECT quantity, fate, sum(n)::BIGINT AS n FROM (
            SELECT quantity, fate, count(*) AS n FROM {source} GROUP BY ALL
            UNION ALL
            SELECT quantity, 'duplicates', sum(copies - 1) FROM {source} GROUP BY ALL
        ) WHERE n > 0 GROUP BY ALL ORDER BY n DESC, quantity, fate
    """)


def _rule(row: dict[str, str], place: int) -> Rule:
    factor, offset = float(row["factor"]), float(row["offset"])
    named = [_spelling(text) for text in row["reported"].split("|") if text]
    converts = bool(named) and (factor, offset) != (1.0, 0.0)
    spellings = named if converts else [_spelling(row["unit"]), *named]
    pairs = (pair.rpartition("=") for pair in row["words"].split(";") if pair)
    return Rule(
        table=row["table"],
        item=row["itemid"],
        place=place,
        quantity=row["quantity"],
        modality=row["modality"],
        unit=row["unit"],
        spellings=frozenset(spellings),
        default=spellings[0],
        factor=factor,
        offset=offset,
        low=float(row["low"]) if row["low"] else None,
        high=float(row["high"]) if row["high"] else None,
        words={word.upper(): float(number) if number else None for word, _, number in pairs},
    )


def _spelling(unit: str) -> str:
    return unit.translate(SPACES).lower()


def _make_rules(tables: RawTables, rules: list[Rule]) -> None:
    """Make the tables `rule`, `spelling` and `word` of one table's rules."""
    tables.execute("""
        CREATE OR REPLACE TEMP TABLE rule (item VARCHAR, place INTEGER, quantity VARCHAR,
            modality VARCHAR, is_text BOOLEAN, fallback VARCHAR, factor DOUBLE, shift DOUBLE,
            low DOUBLE, high DOUBLE);
        CREATE OR REPLACE TEMP TABLE spelling (item VARCHAR, place INTEGER, reported VARCHAR);
        CREATE OR REPLACE TEMP TABLE word (item VARCHAR, word VARCHAR, number DOUBLE);
        CREATE OR REPLACE MACRO spelled(x) AS
            nullif(lower(replace(replace(replace(trim(x), ' ', ''), 'µ', 'u'), 'μ', 'u')), '');
    """)
    tables.insert(
        "rule",
        [
            [
                *(rule.item, rule.place, rule.quantity, rule.modality, rule.unit == TEXT),
                *(rule.default, rule.factor, rule.offset, rule.low, rule.high),
            ]
            for rule in rules
        ],
    )
    tables.insert(
        "spelling",
        [[rule.item, rule.place, text] for rule in rules for text in sorted(rule.spellings)],
    )
    words = {(rule.item, word): number for rule in rules for word, number in rule.words.items()}
    tables.insert("word", [[*key, number] for key, number in words.items()])


_CHOICE = """
    CREATE OR REPLACE TEMP TABLE choice AS
    WITH fits AS (
        SELECT seen.item AS item, seen.reported AS reported, rule.* EXCLUDE (item),
            row_number() OVER (PARTITION BY seen.item, seen.reported ORDER BY rule.place) AS n
        FROM seen
        JOIN rule AS first ON first.item = seen.item::VARCHAR AND first.place = 0
        JOIN spelling ON spelling.item = first.item
            AND spelling.reported = CASE WHEN first.is_text THEN first.fallback
                ELSE coalesce(spelled(seen.reported), first.fallback) END
        JOIN rule ON rule.item = spelling.item AND rule.place = spelling.place
    )
    SELECT seen.item, seen.reported, named.quantity AS named, named.modality, named.is_text,
        a.quantity AS a_quantity, a.factor AS a_factor, a.shift AS a_shift, a.low AS a_low,
        a.high AS a_high, b.quantity AS b_quantity, b.factor AS b_factor, b.shift AS b_shift,
        b.low AS b_low, b.high AS b_high
    FROM seen JOIN rule AS named ON named.item = seen.item::VARCHAR AND named.place = 0
    LEFT JOIN fits AS a ON a.item = seen.item AND a.n = 1
        AND a.reported IS NOT DISTINCT FROM seen.reported
    LEFT JOIN fits AS b ON b.item = seen.item AND b.n = 2
        AND b.reported IS NOT DISTINCT FROM seen.reported
"""
"""For every pair of item and reported unit, the first and the second rule that take it."""

_VALUES = """
    WITH once AS (
        SELECT stay_id, item, hours, number, written, reported, count(*) AS copies
        FROM ({raw}) GROUP BY ALL
    ), valued AS (
        SELECT once.*, choice.* EXCLUDE (item, reported), word.word IS NOT NULL AS is_word,
            CASE WHEN word.word IS NOT NULL THEN word.number ELSE coalesce(once.number,
                TRY_CAST(regexp_replace(written, '^\\s*[<>]=?\\s*', '') AS DOUBLE)) END AS x
        FROM once JOIN choice ON choice.item = once.item
            AND choice.reported IS NOT DISTINCT FROM once.reported
        LEFT JOIN word ON word.item = once.item::VARCHAR AND word.word = upper(trim(written))
    ), tried AS (
        SELECT *, x * a_factor + a_shift AS a, x * b_factor + b_shift AS b,
            a BETWEEN a_low AND a_high AS is_a, b BETWEEN b_low AND b_high AS is_b
        FROM valued
    )
    SELECT stay_id, hours, modality, copies,
        CASE WHEN is_a THEN a_quantity WHEN is_b THEN b_quantity
            ELSE coalesce(a_quantity, named) END AS quantity,
        CASE WHEN is_a THEN a WHEN is_b THEN b END::FLOAT AS value,
        CASE WHEN is_text THEN nullif(trim(written), '') END AS written,
        CASE WHEN is_text THEN if(trim(written) <> '', 'kept', 'no number')
            WHEN is_word AND x IS NULL THEN 'not assessed'
            WHEN x IS NULL OR isnan(x) THEN 'no number'
            WHEN a_quantity IS NULL THEN 'another unit'
            WHEN is_a OR is_b THEN 'kept'
            ELSE 'outside the limits' END AS fate
    FROM tried
"""
