"""Rows as classes: dataclasses and named tuples whose fields are columns."""

from __future__ import annotations

import dataclasses
import types
import typing
from datetime import date
from typing import Annotated, Any, Union, get_args, get_origin

from .columns import Timestamp
from .schema import Field, Schema
from .written import ColumnType, fits, is_written

#: The types that fields and parameters may have, and those of their columns.
SCALARS: dict[Any, str] = {
    bool: "bool",
    int: "int64",
    float: "float64",
    str: "text",
    bytes: "binary",
    Timestamp: "timestamp",
    date: "date",
}


class Column(str):
    """The name of a field's column where it is another one: ``kind: Annotated[str, Column("type")]``."""


class RowType:
    """The columns of a row, and how a row is made of values and taken apart."""

    def __init__(self, make: Any, fields: list[tuple[str, Field]], keywords: bool = False) -> None:
        #: The class of rows; None where the values are passed as they are.
        self.make = make
        #: The attributes of a row.
        self.attributes = [attribute for attribute, _ in fields]
        self.fields = [own for _, own in fields]
        self._keywords = keywords

    @property
    def schema(self) -> Schema:
        """The columns."""
        return Schema(list(self.fields))

    @property
    def columns(self) -> list[tuple[str, str, bool]]:
        """Name, type and nullability of each column."""
        return [(own.name, own.type, own.nullable) for own in self.fields]

    @property
    def name(self) -> str:
        """What the row is called in messages."""
        return self.make.__name__ if self.make else "row"

    @property
    def is_tuple(self) -> bool:
        """Whether rows are tuples, so that plain tuples do as well."""
        return isinstance(self.make, type) and issubclass(self.make, tuple)

    def making(self, function: str, values: list[str]) -> str:
        """The expression that makes a row of these expressions."""
        if self._keywords:
            values = [f"{name}={value}" for name, value in zip(self.attributes, values)]
        return f"{function}({', '.join(values)})"


NO_COLUMNS = RowType(None, [])


def optional(annotation: Any) -> tuple[Any, bool]:
    """An annotation without ``| None``, and whether it had that."""
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        if len(rest) < len(get_args(annotation)):
            return (rest[0] if len(rest) == 1 else Union[tuple(rest)]), True
    return annotation, False


def scalar(name: str, annotation: Any) -> Field | None:
    """The column of a field or parameter; None where its type is no column's."""
    annotation, outside = optional(annotation)
    marks: list[Any] = []
    if get_origin(annotation) is Annotated:
        annotation, *marks = get_args(annotation)
        name = next((str(mark) for mark in marks if isinstance(mark, Column)), name)
    inner, inside = optional(annotation)
    kind = SCALARS.get(inner) if isinstance(inner, type) else None
    inner = get_origin(inner) or inner
    if told := next((str(mark) for mark in marks if isinstance(mark, ColumnType)), None):
        kind = told if is_written(told) and fits(inner, told) else None
    return Field(name, kind, outside or inside) if kind else None


def is_row(annotation: Any) -> bool:
    """Whether this is a class of rows."""
    is_class = isinstance(annotation, type)
    return is_class and (dataclasses.is_dataclass(annotation) or hasattr(annotation, "_fields"))


def row_type(cls: Any) -> RowType:
    """The columns of a dataclass or a named tuple. Raises TypeError where a field's type is no column's."""
    hints = typing.get_type_hints(cls, include_extras=True)
    keywords = False
    if dataclasses.is_dataclass(cls):
        own = [field for field in dataclasses.fields(cls) if field.init]
        keywords = any(field.kw_only for field in own)
        names = [field.name for field in own]
    else:
        names = list(cls._fields)
    fields = []
    for name in names:
        column = scalar(name, hints[name])
        if column is None:
            words = (
                "bool, int, float, str, bytes, Timestamp, date, Decimal with a ColumnType as in Annotated[Decimal, "
                'ColumnType("decimal(12,2)")], list or dict with one, or one of these with `| None`'
            )
            raise TypeError(f"{cls.__name__}.{name} is of the type {hints[name]!r}; fields of rows are {words}")
        fields.append((name, column))
    return RowType(cls, fields, keywords)
