"""Row classes: dataclasses and named tuples whose fields are columns."""

from __future__ import annotations

import dataclasses
import types
import typing
from datetime import date
from typing import Annotated, Any, Union, get_args, get_origin

from .columns import Timestamp
from .schema import Field, Schema
from .written import ColumnType, fits, is_written

#: The supported types of fields and parameters, and the types of their columns.
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
    """Column name of a field if it differs from the field's name: ``kind: Annotated[str, Column("type")]``."""


class RowType:
    """The columns of a row, and how to build a row from values."""

    def __init__(self, make: Any, fields: list[tuple[str, Field]], keywords: bool = False) -> None:
        #: The row class, or None if values are passed without one.
        self.make = make
        #: The attributes of a row, one per column.
        self.attributes = [attribute for attribute, _ in fields]
        self.fields = [own for _, own in fields]
        self._keywords = keywords

    @property
    def schema(self) -> Schema:
        """Schema of the columns."""
        return Schema(list(self.fields))

    @property
    def columns(self) -> list[tuple[str, str, bool]]:
        """Name, type and nullability of each column."""
        return [(own.name, own.type, own.nullable) for own in self.fields]

    @property
    def name(self) -> str:
        """Name of the row in messages."""
        return self.make.__name__ if self.make else "row"

    @property
    def is_tuple(self) -> bool:
        """Whether rows are tuples, so that plain tuples are accepted too."""
        return isinstance(self.make, type) and issubclass(self.make, tuple)

    def making(self, function: str, values: list[str]) -> str:
        """Returns the expression that builds a row from these expressions."""
        if self._keywords:
            values = [f"{name}={value}" for name, value in zip(self.attributes, values)]
        return f"{function}({', '.join(values)})"


NO_COLUMNS = RowType(None, [])


def optional(annotation: Any) -> tuple[Any, bool]:
    """Returns an annotation without ``| None``, and whether it had that."""
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        if len(rest) < len(get_args(annotation)):
            return (rest[0] if len(rest) == 1 else Union[tuple(rest)]), True
    return annotation, False


def scalar(name: str, annotation: Any) -> Field | None:
    """Returns the column of a field or parameter, or None if its type is not a column type."""
    annotation, outside = optional(annotation)
    marks: list[Any] = []
    if get_origin(annotation) is Annotated:
        annotation, *marks = get_args(annotation)
        name = next((str(mark) for mark in marks if isinstance(mark, Column)), name)
    inner, inside = optional(annotation)
    kind = SCALARS.get(inner) if isinstance(inner, type) else None
    inner = get_origin(inner) or inner
    if column_type := next((str(mark) for mark in marks if isinstance(mark, ColumnType)), None):
        kind = column_type if is_written(column_type) and fits(inner, column_type) else None
    return Field(name, kind, outside or inside) if kind else None


def is_row(annotation: Any) -> bool:
    """Returns whether the annotation is a row class."""
    is_class = isinstance(annotation, type)
    return is_class and (dataclasses.is_dataclass(annotation) or hasattr(annotation, "_fields"))


def row_type(cls: Any) -> RowType:
    """Returns the columns of a dataclass or a named tuple. Raises TypeError if a field's type is not a column type."""
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
            expected = (
                "bool, int, float, str, bytes, Timestamp, date, Decimal with a ColumnType as in Annotated[Decimal, "
                'ColumnType("decimal(12,2)")], list or dict with one, or one of these with `| None`'
            )
            raise TypeError(f"{cls.__name__}.{name} is of the type {hints[name]!r}; fields of rows are {expected}")
        fields.append((name, column))
    return RowType(cls, fields, keywords)
