"""What the cells of one column are: numbers, categories, identifiers, labels or split names.

Empty and whitespace-only text is a missing value, and surrounding blanks do not count. NaN is a
missing value; an infinite number is an error. True and false are 1 and 0.
"""

# N rows of the table

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pandas as pd
import pandas.util
import pyarrow as pa
import pyarrow.compute

from remind.cohort.lookalikes import is_measured, is_missing_mark, lookalike
from remind.cohort.tables import Table
from remind.errors import InputError

ColumnKind = Literal["numeric", "categorical"]

pc: Any = pyarrow.compute  # its functions are made at import time, unknown to type checkers

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?(?i:inf|infinity|nan)$"
INTEGER_ID = r"^(0|-?[1-9]\d{0,17})$"
MOSTLY_NUMBERS = "most of its values are numbers (if they are categories, use words for all)"
ELSE_NUMBERS = "its values are otherwise numbers (if they are categories, use words for all)"
AS_TEXT = "numbers as text; store them as numbers (if they are categories, use words for all)"


def refuse(sentence: str, row: int) -> None:
    """Raise an InputError."""
    raise InputError(sentence)


def read_feature(
    table: Table,
    name: str,
    expected: ColumnKind | None = None,
    reject: Callable[[str, int], None] = refuse,
) -> pd.Series:
    """One feature column: float64 with NaN if numeric, pandas categorical of text if not.

    Args:
        table: where the column is.
        name: the column.
        expected: what the column was in training; None finds out.
        reject: takes what is wrong with a value, and its row: text among numbers, or a number that
            is not finite. If it returns, the value is missing.

    Raises:
        InputError: dates, numbers in disguise or nested values, or what `reject` raises.
    """
    column = table.data[name]
    refuse_unusable(table, name, column)
    kind, but = (
        _kind(table, name, column) if expected is None else (expected, "it is a numeric column")
    )
    if kind == "categorical":
        return pd.Series(_categories(column), name=name)
    values_N = _numbers(table, name, column, but, reject)
    _check_finite(table, name, values_N, reject)
    return pd.Series(values_N, name=name)


def read_ids(table: Table, name: str, what: str) -> np.ndarray:
    """Identifiers (N,): int64 where all are whole numbers without leading zeros, else text.

    Raises:
        InputError: one is missing.
    """
    column = table.data[name]
    _require_all(table, name, column, what)
    kind = column.type
    if pa.types.is_integer(kind):
        return column.to_numpy()
    if _is_uuid(kind):
        return np.array([str(value) for value in column.to_pylist()], dtype=object)
    if pa.types.is_floating(kind):
        values_N = column.to_numpy()
        return (
            values_N.astype(np.int64)
            if (values_N == np.round(values_N)).all()
            else values_N.astype(str).astype(object)
        )
    try:
        text = clean_text(column) if is_text(kind) else pc.cast(column, pa.large_string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:  # bytes that are no text
        raise InputError(
            f'{table.source}: the {what} "{name}" holds values of type {kind}, '
            "expected text or whole numbers: write them as text"
        ) from error
    if table.untyped and pc.all(pc.match_substring_regex(text, INTEGER_ID)).as_py():
        return pc.cast(text, pa.int64()).to_numpy()
    return text.to_numpy(zero_copy_only=False).astype(object)


def read_labels(table: Table, name: str, ids: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class index (N,) int64 and the class names, in numeric order when all are numbers.

    Raises:
        InputError: a label is missing or not finite, or the column holds dates or nested values.
    """
    column = table.data[name]
    missing_N = missing_values(column)
    if missing_N.any():
        row = int(missing_N.argmax())
        raise InputError(
            f'{table.where(row)}: the label "{name}" is missing (id {ids[row]}): '
            "fill it in or leave the row out"
        )
    if is_text(column.type) or pa.types.is_dictionary(column.type):
        numbers_N, is_bad_N = parse_numbers(clean_text(column))
        if is_bad_N.any():
            texts, label_N = np.unique(
                clean_text(column).to_numpy(zero_copy_only=False).astype(str), return_inverse=True
            )
            return label_N.astype(np.int64), tuple(str(text) for text in texts)
    else:
        refuse_unusable(table, name, column)
        numbers_N = _numbers(table, name, column)
    _check_finite(table, name, numbers_N)
    numbers, label_N = np.unique(numbers_N, return_inverse=True)
    return label_N.astype(np.int64), tuple(number_text(number) for number in numbers)


def find_class(text: str, classes: tuple[str, ...]) -> int | None:
    """Position of the class that a cell of this text would have; None if it is none of them."""
    if text in classes:
        return classes.index(text)
    numbers_1, _ = parse_numbers(clean_text(pa.chunked_array([[text]], pa.large_string())))
    name = number_text(numbers_1[0])
    return classes.index(name) if name in classes else None


def are_words(classes: tuple[str, ...]) -> bool:
    """Whether a class is no number (true and false are)."""
    _, is_bad_C = parse_numbers(pa.chunked_array([list(classes)], pa.large_string()))
    return bool(is_bad_C.any())


def read_splits(table: Table, name: str) -> np.ndarray:
    """The split of each row (N,): 'train', 'val' or 'test'.

    Raises:
        InputError: a value is missing or something else.
    """
    column = table.data[name]
    _require_all(table, name, column, "split")
    split_N = (
        pc.cast(clean_text(column), pa.large_string()).to_numpy(zero_copy_only=False).astype(str)
    )
    is_bad_N = ~np.isin(split_N, ("train", "val", "test"))
    if is_bad_N.any():
        row = int(is_bad_N.argmax())
        raise InputError(
            f'{table.where(row)}: the split "{name}" is "{split_N[row]}", '
            "expected train, val or test"
        )
    return split_N


def number_text(number: float) -> str:
    """``1.0 -> '1'``, ``0.5 -> '0.5'``: the same name from an integer and a float column."""
    return str(int(number)) if float(number).is_integer() else repr(float(number))


def as_text(values: np.ndarray) -> np.ndarray:
    """The text of identifiers, the same for the same values in any format."""
    return np.asarray(values).astype(str).astype(object)


def text_hash(texts: np.ndarray, seed: int = 0) -> np.ndarray:
    """uint64 per text, the same on every machine; another seed, another hash."""
    hash_array: Any = pandas.util.hash_array
    return hash_array(texts, hash_key=f"{seed:016d}", categorize=False)


def _kind(table: Table, name: str, column: pa.ChunkedArray) -> tuple[ColumnKind, str]:
    """What a column is, and why text in a numeric one is wrong.

    Raises:
        InputError: text that only looks like categories.
    """
    if not is_text(column.type):
        return "categorical" if pa.types.is_null(column.type) else "numeric", ""
    text = clean_text(column)
    if but := _otherwise_numbers(text):
        if name in table.untyped:
            return "numeric", but
        if _is_export(column, text):
            raise InputError(f'{table.source}: column "{name}" holds {AS_TEXT}')
    if reason := lookalike(text):
        raise InputError(f'{table.source}: column "{name}" holds {reason}')
    return "categorical", ""


def _otherwise_numbers(text: pa.ChunkedArray) -> str:
    """Why what is no number is wrong in clean text, if all or most of it is; "" if it is not."""
    num_values = len(text) - text.null_count
    _, is_bad_N = parse_numbers(text)
    num_bad = int(is_bad_N.sum())
    if 2 * num_bad < num_values:
        return MOSTLY_NUMBERS
    num_marks = int(pc.sum(is_missing_mark(text)).as_py() or 0)
    return ELSE_NUMBERS if num_marks == num_bad < num_values else ""


def _is_export(column: pa.ChunkedArray, text: pa.ChunkedArray) -> bool:
    """Whether numbers of a text column were measured, and written as all columns of an export.

    Few whole numbers are names of categories; of those that were stored as categories, all that
    were no text, and few with decimals.
    """
    levels = pc.unique(text).drop_null()
    if pa.types.is_dictionary(column.type):
        return is_text(column.type.value_type) and is_measured(levels)
    return is_measured(levels, few_decimals=0)


def _numbers(
    table: Table,
    name: str,
    column: pa.ChunkedArray,
    but: str = "",
    reject: Callable[[str, int], None] = refuse,
) -> np.ndarray:
    """float64 (N,), NaN where missing; text that is not a number is rejected."""
    if is_text(column.type):
        text = clean_text(column)
        values_N, is_bad_N = parse_numbers(text)
        for row in np.flatnonzero(is_bad_N).tolist():
            reject(
                f'{table.where(row)}: column "{name}" holds "{text[row].as_py()}", but {but}: '
                "write a number, or leave the cell empty if it is missing",
                row,
            )
        return values_N
    return pc.cast(column, pa.float64(), safe=False).to_numpy().astype(np.float64)


def parse_numbers(text: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (N,) of clean text, NaN where there is none, and which texts are not numbers (N,)."""
    lower = pc.utf8_lower(text)
    is_word = pc.is_in(lower, pa.array(["true", "false"], lower.type))
    if pc.any(is_word).as_py() and pc.all(pc.or_(is_word, pc.is_null(lower))).as_py():
        text = pc.if_else(pc.equal(lower, "true"), "1", "0")
    is_number = pc.match_substring_regex(text, NUMBER)
    digits = pc.utf8_ltrim(pc.if_else(is_number, text, None), "+")
    values_N = pc.cast(digits, pa.float64()).to_numpy()
    is_bad_N = pc.fill_null(pc.invert(is_number), False).to_numpy()
    return np.array(values_N, dtype=np.float64), is_bad_N


def _categories(column: pa.ChunkedArray) -> pd.Categorical:
    """Categories in alphabetical order, numbers by `number_text`."""
    text = clean_text(column) if is_text(column.type) else text_of_numbers(column)
    coded = pc.dictionary_encode(text).combine_chunks()
    chunk = coded.chunk(0) if isinstance(coded, pa.ChunkedArray) else coded
    codes_N = pc.fill_null(chunk.indices, -1).to_numpy()
    values = chunk.dictionary.to_numpy(zero_copy_only=False).astype(object)
    order = np.argsort(values, kind="stable")
    rank = np.append(np.argsort(order), -1)  # code -1 (missing) stays -1
    return pd.Categorical.from_codes(
        rank[codes_N], categories=pd.Index(values[order], dtype=object)
    )


def text_of_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The text of numbers by `number_text`, null where missing."""
    if pa.types.is_integer(column.type):
        return pc.cast(column, pa.large_string())
    values_N = pc.cast(column, pa.float64(), safe=False).to_numpy()
    numbers, position_N = np.unique(values_N, return_inverse=True)
    texts = np.array(
        [None if np.isnan(number) else number_text(number) for number in numbers], dtype=object
    )
    return pa.chunked_array([pa.array(texts[position_N], type=pa.large_string())])


def clean_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text without surrounding blanks, null where nothing is left."""
    text = pc.utf8_trim_whitespace(pc.cast(column, pa.large_string()))
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.large_string()), text)


def is_text(kind: pa.DataType) -> bool:
    """Whether values of this type are categories: text, or a dictionary of anything."""
    is_string = (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )
    return is_string or pa.types.is_dictionary(kind)


def missing_values(column: pa.ChunkedArray) -> np.ndarray:
    """Whether each value is null, NaN or blank text, bool (N,)."""
    values = clean_text(column) if is_text(column.type) else column
    return pc.is_null(values, nan_is_null=True).to_numpy()


def _require_all(table: Table, name: str, column: pa.ChunkedArray, what: str) -> None:
    missing_N = missing_values(column)
    if missing_N.any():
        row = int(missing_N.argmax())
        raise InputError(
            f'{table.where(row)}: the {what} "{name}" is missing: fill it in or leave the row out'
        )


def _check_finite(
    table: Table,
    name: str,
    values_N: np.ndarray,
    reject: Callable[[str, int], None] = refuse,
) -> None:
    """Reject numbers that are not finite, and put NaN in their place."""
    with np.errstate(over="ignore"):
        is_bad_N = np.isinf(values_N.astype(np.float32))
    for row in np.flatnonzero(is_bad_N).tolist():
        reject(
            f'{table.where(row)}: column "{name}" holds {values_N[row]}, which is '
            "not a finite 32-bit number: correct it, or leave the cell empty if it is missing",
            row,
        )
    values_N[is_bad_N] = np.nan


def refuse_unusable(table: Table, name: str, column: pa.ChunkedArray) -> None:
    """Raise an InputError for dates and for nested values."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_temporal(kind):
        raise InputError(
            f'{table.source}: column "{name}" holds dates or times; '
            "give a number instead, such as hours since admission"
        )
    if pa.types.is_nested(kind) or _is_binary(kind) or _is_uuid(kind):
        raise InputError(
            f'{table.source}: column "{name}" holds values of type {kind}, '
            'expected numbers or text; a list of numbers is a modality of kind "vector"'
        )


def _is_uuid(kind: pa.DataType) -> bool:
    return getattr(kind, "extension_name", None) == "arrow.uuid"


def _is_binary(kind: pa.DataType) -> bool:
    return (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    )
