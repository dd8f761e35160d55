"""Whole batches, for plugins that work on columns at once, or on any columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Generic, TypeVar

from . import columns as of_columns
from .columns import Column
from .errors import InternalError
from .row import row_type
from .schema import Field, Schema

R = TypeVar("R")


class TextColumn(Sequence[Any]):
    """A column of text or binary without a copy: value i is ``data[offsets[i]:offsets[i + 1]]``."""

    def __init__(self, data: bytes, offsets: memoryview, is_text: bool) -> None:
        #: All values, one behind the other; those of text as UTF-8.
        self.data = data
        #: Where each value begins, and where the last one ends.
        self.offsets = offsets
        self._is_text = is_text

    def __len__(self) -> int:
        return max(len(self.offsets) - 1, 0)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        if row < 0:
            row += len(self)
        if not 0 <= row < len(self):
            raise IndexError(row)
        value = self.data[self.offsets[row] : self.offsets[row + 1]]
        return value.decode() if self._is_text else value

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def tolist(self) -> list[Any]:
        """All values; faster than one by one."""
        ends, data = self.offsets.tolist(), self.data
        if self._is_text and data.isascii():
            text = data.decode("ascii")
            return [text[start:end] for start, end in pairwise(ends)]
        values = [data[start:end] for start, end in pairwise(ends)]
        return [value.decode() for value in values] if self._is_text else values


class Batch(Generic[R]):
    """Rows as columns. ``Batch[Reading]`` has the columns of the class ``Reading``."""

    def __init__(self, rows: int, columns: Sequence[Any], schema: Schema) -> None:
        #: How many rows there are.
        self.rows = rows
        #: The buffers of each column.
        self.columns = list(columns)
        #: The columns' names and types.
        self.schema = schema

    @classmethod
    def of(cls, row: type[R], **values: Any) -> Batch[R]:
        """A batch of these columns, one for each field of a class of rows: lists, or what holds eight-byte values
        (``array``, ``memoryview``, ``bytes``) or is a column of another batch.

        Raises InternalError where a column is missing, or one too many, or of another length or type.
        """
        own = row_type(row)
        if missing := [name for name in own.attributes if name not in values]:
            raise InternalError(f"the column `{missing[0]}` of {own.name} is missing")
        if unknown := [name for name in values if name not in own.attributes]:
            raise InternalError(f"{own.name} has no column `{unknown[0]}`")
        made = [_column(values[name], field) for name, field in zip(own.attributes, own.fields)]
        rows = {length for length, _ in made}
        if len(rows) > 1:
            raise InternalError(f"the columns of {own.name} have different lengths: {sorted(rows)}")
        return cls(rows.pop() if rows else 0, [column for _, column in made], own.schema)

    def __len__(self) -> int:
        return self.rows

    def column(self, name: str) -> Any:
        """A column without a copy: a memoryview of 8-byte integers (``int64``, ``timestamp``) or floats, a `TextColumn`, or
        a list of booleans. What stands in rows that are null means nothing; see `is_null`."""
        index, field = self._find(name)
        column = self.columns[index]
        try:
            match field.type:
                case "int64" | "timestamp":
                    return of_columns.words(column, self.rows, "q")
                case "float64":
                    return of_columns.words(column, self.rows, "d")
                case "text" | "binary":
                    return TextColumn(column.data, of_columns.offsets(column, self.rows), field.type == "text")
                case kind:
                    return of_columns.read(column, self.rows, kind, False)
        except ValueError as error:
            raise InternalError(f"column `{name}`: {error}") from None

    def values(self, name: str) -> list[Any]:
        """A column as a list, with None for nulls."""
        index, field = self._find(name)
        try:
            return of_columns.read(self.columns[index], self.rows, field.type, True)
        except ValueError as error:
            raise InternalError(f"column `{name}`: {error}") from None

    def nulls(self, name: str) -> list[bool] | None:
        """Whether each row of a column is null; None where no row is."""
        valid = of_columns.validity(self.columns[self._find(name)[0]], self.rows)
        return None if valid is None else [not is_valid for is_valid in valid]

    def take(self, rows: Sequence[int]) -> Batch[R]:
        """The rows of these indexes, in this order; an index may come any number of times."""
        return Batch(len(rows), take(self.columns, self.rows, self.schema, rows), self.schema)

    def beside(self, other: Batch[Any]) -> Batch[Any]:
        """The columns of this batch and then those of another one, which must have as many rows."""
        if self.rows != other.rows:
            raise InternalError(f"columns of {self.rows} and of {other.rows} rows")
        return Batch(self.rows, self.columns + other.columns, Schema(self.schema.fields + other.schema.fields))

    def _find(self, name: str) -> tuple[int, Field]:
        place = self.schema.position(name)
        if place is None:
            raise InternalError(f"the batch has no column `{name}`; it has: {self.schema}")
        return place, self.schema.fields[place]


def take(columns: Sequence[Any], rows: int, schema: Schema, taken: Sequence[int]) -> list[Column]:
    """The rows of these indexes of columns."""
    made = []
    for column, field in zip(columns, schema.fields):
        try:
            values = of_columns.read(column, rows, field.type, True)
        except ValueError as error:
            raise InternalError(f"column `{field.name}`: {error}") from None
        made.append(of_columns.write([values[row] for row in taken], field.name, field.type, True))
    return made


def _column(values: Any, field: Field) -> tuple[int, Column]:
    """How many values there are, and their column."""
    if isinstance(values, TextColumn) and field.type in ("text", "binary"):
        start = values.offsets[0] if len(values) else 0
        if start == 0:
            return len(values), Column(values.data, offsets=values.offsets.tobytes() or bytes(4))
    elif field.type in ("int64", "timestamp", "float64") and not isinstance(values, (list, tuple)):
        code = "d" if field.type == "float64" else "q"
        try:
            view = memoryview(values)
        except TypeError:
            view = None
        if view is not None and (view.format == code or view.itemsize == 1 or (view.format == "l" and code == "q")):
            return view.nbytes // 8, Column(view.tobytes())
    listed = list(values)
    return len(listed), of_columns.write(listed, field.name, field.type, field.nullable)
