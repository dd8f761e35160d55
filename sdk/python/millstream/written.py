"""Types whose values cross the boundary written out, as text: dates, decimals, structs and lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any


class ColumnType(str):
    """The type of a column that Python's own does not tell, as job files write it: ``Annotated[Decimal,
    ColumnType("decimal(12,2)")]``, ``Annotated[dict, ColumnType("struct<id: int64, tags: list<text>>")]``."""


def is_written(kind: str) -> bool:
    """Whether the values of a type are written out: whether it is named as job files name it, and no plain one."""
    return kind == "date" or kind.startswith(("decimal(", "list<", "struct<"))


def fits(annotation: Any, kind: str) -> bool:
    """Whether values of a type of columns are of this class."""
    if kind == "date":
        return annotation is date
    if kind.startswith("decimal("):
        return annotation is Decimal
    return annotation is (list if kind.startswith("list<") else dict)


def _nested_decimals(text: str) -> Any:
    # Floats that JSON has no number for are texts, so that all that looks like a number may be a decimal.
    return json.loads(text, parse_float=Decimal)


def reader(kind: str) -> Callable[[str], Any]:
    """What makes a value of its text. It raises ValueError for a date outside of the years that Python knows."""
    if kind == "date":
        return date.fromisoformat
    if kind.startswith("decimal("):
        return Decimal
    return _nested_decimals if "decimal(" in kind and "float64" not in kind else json.loads


def _json(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    raise TypeError


def _dumped(value: Any) -> str:
    return json.dumps(value, default=_json, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _dumped_decimals(value: Any) -> str:
    """The same where there may be decimals, which are numbers of as many digits as they have."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dict):
        members = (f"{json.dumps(str(name))}:{_dumped_decimals(member)}" for name, member in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_dumped_decimals, value)) + "]"
    return _dumped(value)


def writer(kind: str) -> Callable[[Any], str]:
    """What makes the text of a value. It raises TypeError for a value of another type."""
    if kind == "date":

        def write_date(value: date) -> str:
            if type(value) is not date:
                raise TypeError
            return value.isoformat()

        return write_date
    if kind.startswith("decimal("):

        def write_decimal(value: Decimal | int) -> str:
            if isinstance(value, bool) or not isinstance(value, (Decimal, int)):
                raise TypeError
            return format(value, "f") if isinstance(value, Decimal) else str(value)

        return write_decimal
    dump = _dumped_decimals if "decimal(" in kind else _dumped
    whole = (list, tuple) if kind.startswith("list<") else dict

    def write_nested(value: Any) -> str:
        if not isinstance(value, whole):
            raise TypeError
        try:
            return dump(value)
        except ValueError:
            # A float that is no number: JSON has none.
            raise TypeError from None

    return write_nested
