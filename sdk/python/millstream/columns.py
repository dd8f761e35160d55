"""Converts columns to lists of Python values and back. Arrow buffers are little-endian, and so are all supported machines."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta, timezone
from itertools import accumulate, chain, pairwise
from typing import Any

from . import written
from .errors import InputError, InternalError

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Timestamp(int):
    """A point in time: microseconds since 1970-01-01 00:00 UTC."""

    __slots__ = ()

    @classmethod
    def of(cls, at: datetime) -> Timestamp:
        """Converts a datetime. One without a time zone is taken as UTC."""
        at = at if at.tzinfo else at.replace(tzinfo=timezone.utc)
        return cls((at - _EPOCH) // timedelta(microseconds=1))

    def datetime(self) -> datetime:
        """Converts to a datetime in UTC. Raises OverflowError outside of the years 1 to 9999."""
        return _EPOCH + timedelta(microseconds=self)


class Column:
    """The Arrow buffers of one column."""

    __slots__ = ("data", "offsets", "validity")

    def __init__(self, data: bytes, offsets: bytes | None = None, validity: bytes | None = None) -> None:
        self.data = data
        self.offsets = offsets
        self.validity = validity


#: The bits of each byte, least significant first.
_BITS = [tuple(bool(byte >> bit & 1) for bit in range(8)) for byte in range(256)]
#: Multiplying eight bytes, read as one number, by this moves their lowest bits into the highest byte.
_GATHER = 0x0102040810204080


def bits(data: bytes, rows: int) -> list[bool]:
    """Returns the first ``rows`` bits of a bitmap."""
    if len(data) * 8 < rows:
        raise ValueError("its values are too short")
    found = list(chain.from_iterable(map(_BITS.__getitem__, data)))
    del found[rows:]
    return found


def bitmap(values: Sequence[bool]) -> bytes:
    """Returns a bitmap of values, each of which is True, False, 1 or 0."""
    flags = bytes(values)
    words = memoryview(flags + bytes(-len(flags) % 8)).cast("Q")
    return bytes([word * _GATHER >> 56 & 255 for word in words])


def offsets(column: Any, rows: int) -> memoryview:
    """Returns the start of each string or binary, then the end of the last one."""
    if column.offsets is None:
        raise ValueError("it has no offsets")
    view = memoryview(column.offsets).cast("i")
    # In Arrow, a column without rows may have no offsets.
    if len(view) <= rows and rows:
        raise ValueError("its offsets are too short")
    return view[: rows + 1]


def words(column: Any, rows: int, code: str) -> memoryview:
    """Returns a column of eight-byte values without a copy. ``code`` is ``q`` for integers, ``d`` for floats."""
    view = memoryview(column.data)[: rows * 8]
    if len(view) < rows * 8:
        raise ValueError("its values are too short")
    return view.cast(code)


def _read_bool(column: Any, rows: int) -> list[bool]:
    return bits(column.data, rows)


def _read_int(column: Any, rows: int) -> list[int]:
    return words(column, rows, "q").tolist()


def _read_float(column: Any, rows: int) -> list[float]:
    return words(column, rows, "d").tolist()


def _read_timestamp(column: Any, rows: int) -> list[Timestamp]:
    return list(map(Timestamp, words(column, rows, "q")))


def _read_text(column: Any, rows: int) -> list[str]:
    ends = offsets(column, rows).tolist()
    data: bytes = column.data
    if data.isascii():
        text = data.decode("ascii")
        return [text[start:end] for start, end in pairwise(ends)]
    return [data[start:end].decode() for start, end in pairwise(ends)]


def _read_binary(column: Any, rows: int) -> list[bytes]:
    data: bytes = column.data
    return [data[start:end] for start, end in pairwise(offsets(column, rows).tolist())]


_READ: dict[str, Callable[[Any, int], list[Any]]] = {
    "bool": _read_bool,
    "int64": _read_int,
    "float64": _read_float,
    "text": _read_text,
    "binary": _read_binary,
    "timestamp": _read_timestamp,
}


def validity(column: Any, rows: int) -> list[bool] | None:
    """Returns which rows of a column have a value, or None if all have one."""
    if column.validity is None:
        return None
    try:
        return bits(column.validity, rows)
    except ValueError:
        raise ValueError("its validity is too short") from None


def read(column: Any, rows: int, kind: str, nullable: bool) -> list[Any]:
    """Returns the values of a column. If ``nullable``, nulls are None; otherwise their values are undefined.

    Raises ValueError if the buffers are invalid.
    """
    reader = _READ.get(kind)
    if reader is None and written.is_written(kind):
        return _read_written(column, rows, kind, None if nullable else NOTHING)
    if reader is None:
        raise ValueError(f"a plugin cannot read its type {kind}: cast or drop it before")
    values = reader(column, rows)
    valid = validity(column, rows) if nullable else None
    if valid is None or all(valid):
        return values
    return [value if is_valid else None for value, is_valid in zip(values, valid)]


def _read_written(column: Any, rows: int, kind: str, nothing: Any) -> list[Any]:
    make = written.reader(kind)

    def value(text: str) -> Any:
        try:
            return make(text)
        except (ValueError, ArithmeticError):
            raise ValueError(f"Python has no {kind} `{short(text)}`") from None

    # A null has an empty text.
    return [value(text) if text else nothing for text in _read_text(column, rows)]


def read_all(columns: Sequence[Any], rows: int, fields: Iterable[tuple[str, str, bool]]) -> list[list[Any]]:
    """Returns the values of columns with these names, types and nullabilities. Raises InputError."""
    found = []
    for index, (name, kind, nullable) in enumerate(fields):
        try:
            if index >= len(columns):
                raise ValueError("it is missing")
            found.append(read(columns[index], rows, kind, nullable))
        except ValueError as error:
            raise InputError(f"column `{name}` (number {index}): {error}") from None
    return found


#: The value of a null row, by type.
_EMPTY: dict[str, Any] = {
    "bool": False,
    "int64": 0,
    "float64": 0.0,
    "text": "",
    "binary": b"",
    "timestamp": 0,
}


class _Nothing:
    """The value of a null row, for types whose values are encoded as text."""

    def __repr__(self) -> str:
        return "_nothing"


NOTHING = _Nothing()


def empty(kind: str) -> Any:
    """Returns the value of a null row of this type."""
    return _EMPTY.get(kind, NOTHING)


_BYTES_MAX = 2**31 - 1


def _write_bool(values: list[bool]) -> Column:
    if not {bool}.issuperset(map(type, values)):
        raise TypeError
    return Column(bitmap(values))


def _write_int(values: list[int]) -> Column:
    return Column(array("q", values).tobytes())


def _write_float(values: list[float]) -> Column:
    return Column(array("d", values).tobytes())


def _lengths(values: Iterable[Any], data: bytes) -> Column:
    if len(data) > _BYTES_MAX:
        raise InternalError("a column of text or binary grew above 2 GiB in one call")
    return Column(data, offsets=array("i", accumulate(map(len, values), initial=0)).tobytes())


def _write_text(values: list[str]) -> Column:
    joined = "".join(values)
    if joined.isascii():
        return _lengths(values, joined.encode("ascii"))
    encoded = [value.encode() for value in values]
    return _lengths(encoded, b"".join(encoded))


def _write_binary(values: list[bytes]) -> Column:
    return _lengths(values, b"".join(values))


_WRITE: dict[str, Callable[[list[Any]], Column]] = {
    "bool": _write_bool,
    "int64": _write_int,
    "float64": _write_float,
    "text": _write_text,
    "binary": _write_binary,
    "timestamp": _write_int,
}


def _write(values: list[Any], kind: str) -> Column:
    if kind in _WRITE:
        return _WRITE[kind](values)
    make = written.writer(kind)
    return _write_text(["" if value is NOTHING else make(value) for value in values])


class WrongValue(InternalError):
    """A value whose type differs from its column's."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        #: Index of the row.
        self.row = row


def write(values: list[Any], name: str, kind: str, nullable: bool) -> Column:
    """Returns a column of these values. Raises WrongValue, which names the column, for a value of another type."""
    valid, original = None, values
    if nullable and None in values:
        valid = bitmap([value is not None for value in values])
        nothing = empty(kind)
        values = [nothing if value is None else value for value in values]
    try:
        column = _write(values, kind)
    except (TypeError, OverflowError, UnicodeEncodeError, AttributeError):
        row = next((row for row, value in enumerate(values) if not _fits(value, kind)), 0)
        raise WrongValue(f"field `{name}` is {kind}, not {short(original[row])}", row) from None
    column.validity = valid
    return column


def _fits(value: Any, kind: str) -> bool:
    try:
        _write([value], kind)
    except (TypeError, OverflowError, UnicodeEncodeError, AttributeError):
        return False
    return True


def short(value: Any) -> str:
    """Formats a value for a message."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


def nulls(columns: Sequence[Any], rows: int, fields: Iterable[tuple[str, str, bool]]) -> dict[int, str]:
    """Returns the rows with a null in a column that is not nullable, each with a reason. The first such column gives the reason."""
    missing: dict[int, str] = {}
    for column, (name, _, nullable) in zip(columns, fields):
        if nullable:
            continue
        valid = validity(column, rows)
        if valid is None or all(valid):
            continue
        for row, is_valid in enumerate(valid):
            if not is_valid:
                missing.setdefault(row, f"column `{name}` is null")
    return missing
