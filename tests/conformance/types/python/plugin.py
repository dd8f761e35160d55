"""A value of every type, with and without nulls: every output column is computed, so that a value that is read or
written wrongly is detected."""

import math
from dataclasses import dataclass
from typing import Annotated

from millstream import Column, Timestamp, transform

SECOND = 1_000_000


@dataclass
class Values:
    flag: bool
    # For type checkers, a field named `int` would hide the type.
    int_: Annotated[int, Column("int")]
    float_: Annotated[float, Column("float")]
    text: str
    binary: bytes
    at: Timestamp
    flag_or_null: bool | None
    int_or_null: int | None
    float_or_null: float | None
    text_or_null: str | None
    binary_or_null: bytes | None
    at_or_null: Timestamp | None
    type: str | None
    class_: Annotated[int | None, Column("class")]
    func: bool | None
    two_words: Annotated[str | None, Column("two words")]
    größe: int | None


@dataclass
class Computed:
    flag: bool
    int_: Annotated[int, Column("int")]
    float_: Annotated[float, Column("float")]
    is_negative: bool
    text: str
    length: int
    binary: bytes
    at: Timestamp
    flag_or_null: bool | None
    int_or_null: int | None
    float_or_null: float | None
    text_or_null: str | None
    length_or_null: int | None
    binary_or_null: bytes | None
    at_or_null: Timestamp | None
    type: str | None
    class_: Annotated[int | None, Column("class")]
    func: bool | None
    two_words: Annotated[str | None, Column("two words")]
    größe: int | None


@transform
def types(row: Values) -> Computed:
    """Computes something from a value of every type."""
    text, binary = row.text_or_null, row.binary_or_null
    return Computed(
        flag=not row.flag,
        int_=~row.int_,
        float_=row.float_ * 2,
        is_negative=math.copysign(1, row.float_) < 0 and not math.isnan(row.float_),
        text=row.text + "!",
        length=len(row.text),
        binary=row.binary[::-1],
        at=Timestamp(row.at + SECOND),
        flag_or_null=None if row.flag_or_null is None else not row.flag_or_null,
        int_or_null=None if row.int_or_null is None else ~row.int_or_null,
        float_or_null=None if row.float_or_null is None else row.float_or_null * 2,
        text_or_null=None if text is None else text + "!",
        length_or_null=None if text is None else len(text),
        binary_or_null=None if binary is None else binary[::-1],
        at_or_null=None if row.at_or_null is None else Timestamp(row.at_or_null + SECOND),
        type=row.type,
        class_=None if row.class_ is None else ~row.class_,
        func=None if row.func is None else not row.func,
        two_words=row.two_words,
        größe=None if row.größe is None else ~row.größe,
    )
