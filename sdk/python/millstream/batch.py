"""Batches as columns, for plugins that process columns at once or accept any columns."""

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
    """A column of strings or binaries without a copy: value i is ``data[offsets[i]:offsets[i + 1]]``."""

    def __init__(self, data: bytes, offsets: memoryview, is_text: bool) -> None:
        #: All values, concatenated; strings as UTF-8.
        self.data = data
        #: Start of each value, then the end of the last one.
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
        """Returns all values as a list. Faster than reading them one by one."""
        ends, data = self.offsets.tolist(), self.data
        if self._is_text and data.isascii():
            text = data.decode("ascii")
            return [text[start:end] for start, end in pairwise(ends)]
        values = [data[start:end] for start, end in pairwise(ends)]
        return [value.decode() for value in values] if self._is_text else values


class Batch(Generic[R]):
    """Rows as columns. ``Batch[Reading]`` has the columns of the class ``Reading``."""

    def __init__(self, rows: int, columns: Sequence[Any], schema: Schema) -> None:
        #: Number of rows.
        self.rows = rows
        #: Buffers of each column.
        self.columns = list(columns)
        #: Names and types of the columns.
        self.schema = schema

    @classmethod
    def of(cls, row: type[R], **values: Any) -> Batch[R]:
        """Creates a batch with one column for each field of a row class.

        A column is a list, a buffer of 8-byte values (``array``, ``memoryview``, ``bytes``) or a column of another batch. Raises
        InternalError if a column is missing or unknown, or has another length or type.
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
        """Returns a column without a copy: a memoryview of 8-byte integers (``int64``, ``timestamp``) or floats, a `TextColumn`,
        or a list of booleans. Values of null rows are undefined; see `nulls`."""
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
        """Returns a column as a list, with None for nulls."""
        index, field = self._find(name)
        try:
            return of_columns.read(self.columns[index], self.rows, field.type, True)
        except ValueError as error:
            raise InternalError(f"column `{name}`: {error}") from None

    def nulls(self, name: str) -> list[bool] | None:
        """Returns whether each row of a column is null, or None if no row is."""
        valid = of_columns.validity(self.columns[self._find(name)[0]], self.rows)
        return None if valid is None else [not is_valid for is_valid in valid]

    def take(self, rows: Sequence[int]) -> Batch[R]:
        """Returns a batch of the rows with these indexes, in this order. An index may occur several times."""
        return Batch(len(rows), take(self.columns, self.rows, self.schema, rows), self.schema)

    def beside(self, other: Batch[Any]) -> Batch[Any]:
        """Returns a batch with the columns of this batch, then those of another one with the same number of rows."""
        if self.rows != other.rows:
            raise InternalError(f"columns of {self.rows} and of {other.rows} rows")
        return Batch(self.rows, self.columns + other.columns, Schema(self.schema.fields + other.schema.fields))

    def _find(self, name: str) -> tuple[int, Field]:
        index = self.schema.position(name)
        if index is None:
            raise InternalError(f"the batch has no column `{name}`; it has: {self.schema}")
        return index, self.schema.fields[index]


def take(columns: Sequence[Any], rows: int, schema: Schema, taken: Sequence[int]) -> list[Column]:
    """Returns columns of the rows with these indexes."""
    made = []
    for column, field in zip(columns, schema.fields):
        try:
            values = of_columns.read(column, rows, field.type, True)
        except ValueError as error:
            raise InternalError(f"column `{field.name}`: {error}") from None
        made.append(of_columns.write([values[row] for row in taken], field.name, field.type, True))
    return made


def _column(values: Any, field: Field) -> tuple[int, Column]:
    """Returns the number of values, and their column."""
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
