"""World ``source``: reads rows from an external system."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_args, get_origin

from .batch import Batch
from .connector import Connector
from .errors import InternalError
from .place import missing_return
from .plugin import decorator, write_rows
from .row import RowType, is_row, row_type
from .schema import Description

R = TypeVar("R")


def source(subject: Any = None, /, *, config_schema: str | None = None) -> Any:
    """Turns a class into a plugin of world ``source``. An instance reads one partition.

    Methods: ``open(config, partition, position)`` and ``poll(rows, wait_ms)`` are required. ``durable(position)`` and
    ``published(position)`` are optional. Class or static methods, also optional: ``check(config)`` and ``partitions(config)``. A
    method declares only the parameters of these names that it needs. ``poll`` needs both, the first as ``rows: Arrivals[Row]``.
    ``config`` is a dataclass or a dict.

    The host stores the rows of a poll and the position after them atomically. So each row arrives exactly once if the source can
    resume at a position. A `ConfigError` fails the job. An `InternalError` or an OSError, for example of `net`, is taken as
    transient: the host drops the instance and after a delay opens another one at the position of the last poll. Any other
    exception is a bug in the plugin and fails the job.
    """
    return decorator("source", SourceRunner, subject, config_schema)


@dataclass(frozen=True)
class Polled:
    """Result of a poll besides its rows, created by `ready`, `pause` and `ended`."""

    #: Position after all rows of the poll, in a format of the plugin; None if it has not changed.
    position: bytes | None = None
    #: Time in milliseconds after which the host polls again, or earlier; None: never.
    pause_ms: int | None = 0

    @classmethod
    def ready(cls, position: bytes | None = None) -> Polled:
        """The host polls again immediately. Return this also after a poll that waited and had no rows: the next one waits again."""
        return cls(position, 0)

    @classmethod
    def pause(cls, ms: int, position: bytes | None = None) -> Polled:
        """There are no rows now. The host polls again after ``ms`` milliseconds or earlier."""
        return cls(position, ms)

    @classmethod
    def ended(cls, position: bytes | None = None) -> Polled:
        """The partition has ended."""
        return cls(position, None)


class Arrivals(Generic[R]):
    """Collects what a poll received: rows and rejected data."""

    def __init__(self, rows: RowType, rows_max: int) -> None:
        self._row = rows
        self._lists: list[list[Any]] = [[] for _ in rows.fields]
        self._max = rows_max
        #: Rejected data, each with the reason.
        self.refused: list[tuple[bytes, str]] = []

    def push(self, row: R) -> None:
        """Appends a row. More rows than the host requested fail the poll, so check `left` first."""
        for values, name in zip(self._lists, self._row.attributes):
            values.append(getattr(row, name))

    def emit(self, *values: Any, **named: Any) -> None:
        """Appends a row of these values, in the order of the fields or by name. Faster than `push`, which needs a row object."""
        row = [*values, *(named.pop(name) for name in self._row.attributes[len(values) :] if name in named)]
        if len(row) != len(self._lists) or named:
            raise TypeError(f"a row of {self._row.name} is made of: {', '.join(self._row.attributes)}")
        for own, value in zip(self._lists, row):
            own.append(value)

    def refuse(self, data: bytes, reason: Any) -> None:
        """Rejects received data that is not a row. It goes to the source's rejected rows and counts as a row in `left`."""
        self.refused.append((bytes(data), str(reason)))

    def __len__(self) -> int:
        """Number of rows and rejected data so far."""
        return len(self._lists[0]) + len(self.refused)

    @property
    def left(self) -> int:
        """Number of rows that this poll may still add."""
        return max(self._max - len(self), 0)

    def finish(self) -> Batch[Any]:
        """Returns the rows as columns. Raises TypeError for a value of another type."""
        try:
            return write_rows(self._row, self._lists)
        except InternalError as wrong:
            # A retry would return the same type, so this is not transient.
            raise TypeError(str(wrong)) from None


class SourceRunner(Connector):
    """Runs a class with ``@source``: creates an instance for each partition."""

    world = "source"
    parameters = {
        "check": ("config",),
        "partitions": ("config",),
        "open": ("config", "partition", "position"),
        "poll": ("rows", "wait_ms"),
        "durable": ("position",),
        "published": ("position",),
    }
    needed = ("open", "poll")

    def __init__(self, cls: Any) -> None:
        super().__init__(cls)
        self.row = self._rows()

    def _rows(self) -> RowType:
        own = f"{self._class.__name__}.poll()"
        if self._takes["poll"] != ["rows", "wait_ms"]:
            raise TypeError(f"{own}: its parameters are `rows: Arrivals[Row]` and `wait_ms: int`")
        annotation = self._hints("poll").get("rows")
        arguments = get_args(annotation)
        if get_origin(annotation) is not Arrivals or not is_row(arguments[0]):
            raise TypeError(f"{own}: `rows` is `Arrivals[Row]`, with a dataclass or a named tuple for Row")
        row = row_type(arguments[0])
        if not row.fields:
            raise TypeError(f"{own}: {row.name} has no fields, and a row needs one")
        return row

    def describe(self, config: str) -> Description:
        """Describes the output. Raises ConfigError."""
        self._call(self._class(), "check", config=self._read(config))
        return Description(output=self.row.schema, config_schema=self._config_schema)

    def partitions(self, config: str) -> list[str]:
        """Returns the partitions. If the class has no method for it, there is one without a name."""
        if "partitions" not in self._takes:
            return [""]
        names = self._call(self._class(), "partitions", config=self._read(config))
        if isinstance(names, str) or not all(isinstance(name, str) for name in _listed(names, self._class.partitions)):
            raise TypeError(f"partitions() returned {names!r:.100}, not a list of str")
        return list(names)

    def open(self, config: str, partition: str, position: bytes | None) -> Any:
        """Returns an instance that reads a partition."""
        source = self._class()
        self._call(source, "open", config=self._read(config), partition=partition, position=position)
        return source

    def poll(self, source: Any, rows_max: int, wait_ms: int) -> tuple[Arrivals[Any], Polled]:
        """Polls for the next rows."""
        rows: Arrivals[Any] = Arrivals(self.row, rows_max)
        polled = source.poll(rows, wait_ms)
        if not isinstance(polled, Polled):
            raise TypeError(missing_return(source.poll, "Polled.ready(…), Polled.pause(…) or Polled.ended(…)"))
        return rows, polled

    def notify(self, source: Any, method: str, position: bytes) -> None:
        """Calls `durable` or `published`, if the class has it."""
        self._call(source, method, position=position)


def _listed(names: Any, function: Callable[..., Any]) -> list[Any]:
    if names is None:
        raise TypeError(missing_return(function, "a list of names"))
    return list(names)
