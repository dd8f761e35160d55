"""World ``source``: rows from elsewhere."""

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
    """Makes a class a plugin of world ``source``: an instance of it reads one partition.

    Its methods are ``open(config, partition, position)`` and ``poll(rows, wait_ms)``; if wanted also ``durable(position)`` and
    ``published(position)``, and for the class ``check(config)`` and ``partitions(config)``. A method takes the parameters of
    these names that it wants, but ``poll`` both of them, the first as ``rows: Arrivals[Row]``. ``config`` is a dataclass or a dict.

    The host keeps the rows of a poll and the position behind them together, so that each row comes exactly once where the
    source can go on at a position. A `ConfigError` ends the job. An `InternalError` or an OSError, as of `net`, is taken for
    something that passes: the instance is thrown away, and after a while another one is opened where the last poll left off.
    Any other exception is a mistake in the plugin, and ends the job as well.
    """
    return decorator("source", SourceRunner, subject, config_schema)


@dataclass(frozen=True)
class Polled:
    """What a poll says beside its rows: made by `ready`, `pause` and `ended`."""

    #: Where to go on behind all of its rows, in words of your own; None: where the partition stood before.
    position: bytes | None = None
    #: In how many milliseconds there may be more, or sooner; None: never.
    pause_ms: int | None = 0

    @classmethod
    def ready(cls, position: bytes | None = None) -> Polled:
        """There may be more at once. So say also after a poll that waited for rows and had none: the next one waits again."""
        return cls(position, 0)

    @classmethod
    def pause(cls, ms: int, position: bytes | None = None) -> Polled:
        """There is nothing for now: the host asks again after so many milliseconds, or sooner."""
        return cls(position, ms)

    @classmethod
    def ended(cls, position: bytes | None = None) -> Polled:
        """The partition has come to its end."""
        return cls(position, None)


class Arrivals(Generic[R]):
    """Where a poll puts what came: rows, and what is none."""

    def __init__(self, rows: RowType, rows_max: int) -> None:
        self._row = rows
        self._lists: list[list[Any]] = [[] for _ in rows.fields]
        self._max = rows_max
        #: What was refused, each with the reason.
        self.refused: list[tuple[bytes, str]] = []

    def push(self, row: R) -> None:
        """Appends a row. One more than asked for fails the poll, so look at `left` before."""
        for values, name in zip(self._lists, self._row.attributes):
            values.append(getattr(row, name))

    def emit(self, *values: Any, **named: Any) -> None:
        """Appends a row of these values, the fields in their order or by name. Faster than `push`, which needs a row."""
        row = [*values, *(named.pop(name) for name in self._row.attributes[len(values) :] if name in named)]
        if len(row) != len(self._lists) or named:
            raise TypeError(f"a row of {self._row.name} is made of: {', '.join(self._row.attributes)}")
        for own, value in zip(self._lists, row):
            own.append(value)

    def refuse(self, data: bytes, reason: Any) -> None:
        """Refuses what came and is no row: it goes to the source's rejected rows. It counts as rows do."""
        self.refused.append((bytes(data), str(reason)))

    def __len__(self) -> int:
        """How many came so far."""
        return len(self._lists[0]) + len(self.refused)

    @property
    def left(self) -> int:
        """How many more may come in this poll."""
        return max(self._max - len(self), 0)

    def finish(self) -> Batch[Any]:
        """The rows as columns. Raises TypeError for a value of another type."""
        try:
            return write_rows(self._row, self._lists)
        except InternalError as wrong:
            # It will not be another type the next time.
            raise TypeError(str(wrong)) from None


class SourceRunner(Connector):
    """Runs a class with ``@source``: makes an instance for each partition."""

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
        """Says what is returned. Raises ConfigError."""
        self._call(self._class(), "check", config=self._read(config))
        return Description(output=self.row.schema, config_schema=self._config_schema)

    def partitions(self, config: str) -> list[str]:
        """The partitions that there are: one without a name where the class does not say."""
        if "partitions" not in self._takes:
            return [""]
        names = self._call(self._class(), "partitions", config=self._read(config))
        if isinstance(names, str) or not all(isinstance(name, str) for name in _listed(names, self._class.partitions)):
            raise TypeError(f"partitions() returned {names!r:.100}, which are no names: a list of str")
        return list(names)

    def open(self, config: str, partition: str, position: bytes | None) -> Any:
        """An instance that reads a partition."""
        source = self._class()
        self._call(source, "open", config=self._read(config), partition=partition, position=position)
        return source

    def poll(self, source: Any, rows_max: int, wait_ms: int) -> tuple[Arrivals[Any], Polled]:
        """The next rows."""
        rows: Arrivals[Any] = Arrivals(self.row, rows_max)
        polled = source.poll(rows, wait_ms)
        if not isinstance(polled, Polled):
            raise TypeError(missing_return(source.poll, "Polled.ready(…), Polled.pause(…) or Polled.ended(…)"))
        return rows, polled

    def tell(self, source: Any, method: str, position: bytes) -> None:
        """Calls `durable` or `published`, where the class has it."""
        self._call(source, method, position=position)


def _listed(names: Any, function: Callable[..., Any]) -> list[Any]:
    if names is None:
        raise TypeError(missing_return(function, "a list of names"))
    return list(names)
