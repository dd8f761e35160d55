"""Types whose values are encoded as text at the boundary: dates, decimals, structs and lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any


class ColumnType(str):
    """Column type that Python's type does not determine, written as in job files: ``Annotated[Decimal,
    ColumnType("decimal(12,2)")]``, ``Annotated[dict, ColumnType("struct<id: int64, tags: list<text>>")]``."""


def is_written(kind: str) -> bool:
    """Returns whether the values of a type are encoded as text: a job file type that is not plain."""
    return kind == "date" or kind.startswith(("decimal(", "list<", "struct<"))


def fits(annotation: Any, kind: str) -> bool:
    """Returns whether values of this column type have this Python class."""
    if kind == "date":
        return annotation is date
    if kind.startswith("decimal("):
        return annotation is Decimal
    return annotation is (list if kind.startswith("list<") else dict)


def _nested_decimals(text: str) -> Any:
    # Floats that are not JSON numbers are strings, so every number with a fraction may be a decimal.
    return json.loads(text, parse_float=Decimal)


def reader(kind: str) -> Callable[[str], Any]:
    """Returns a function that decodes a value. It raises ValueError for a date outside of Python's years."""
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
    """Like `_dumped`, with support for decimals, which are numbers with all their digits."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dict):
        members = (f"{json.dumps(str(name))}:{_dumped_decimals(member)}" for name, member in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_dumped_decimals, value)) + "]"
    return _dumped(value)


def writer(kind: str) -> Callable[[Any], str]:
    """Returns a function that encodes a value. It raises TypeError for a value of another type."""
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
            # A float that is not a number in JSON.
            raise TypeError from None

    return write_nested
