"""World ``sink``: writes rows to an external system."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin

from . import columns as of_columns
from .batch import Batch
from .connector import Connector
from .errors import InputError
from .plugin import decorator
from .place import missing_return
from .row import RowType, is_row, row_type
from .schema import Description, Schema, is_known

R = TypeVar("R")

#: Guarantee for a batch if a failure occurs while it is written. ``exactly-once``: the batch's rows and its ID are stored atomically, and
#: `committed` and `open` return the last ID. ``at-least-once``: the plugin cannot know what is stored. The batch is written again,
#: and rows may be duplicated.
Promise = Literal["exactly-once", "at-least-once"]
_PROMISES = get_args(Promise)


def sink(subject: Any = None, /, *, config_schema: str | None = None) -> Any:
    """Turns a class into a plugin of world ``sink``. An instance writes the batches of one sink.

    Methods: ``open(config, owner, input)`` returns the last stored batch or None. ``begin(batch, time)`` is optional.
    ``write(rows)`` and ``commit(batch)`` are required. Class or static methods: ``check(config)``, ``reads(config, input)`` and
    ``committed(config, identity)``. The guarantee is the attribute ``promise``, or a class method ``promise(config)``.

    A method declares only the parameters of these names that it needs. ``rows`` is ``Departures[Row]``, or ``Departures[dict]`` for
    the columns that ``reads`` returns (all by default). ``config`` is a dataclass or a dict.

    A `ConfigError` fails the job, and so does an `InputError`, which concerns the rows. An `InternalError` or an OSError, for
    example of `net`, is taken as transient. The host drops the instance. After a delay it opens another one and repeats the batch
    from its start, unless ``open`` returns that batch. Any other exception is a bug in the plugin and fails the job.
    """
    return decorator("sink", SinkRunner, subject, config_schema)


@dataclass(frozen=True)
class Identity:
    """Identity of a sink: the same at every start of a job that continues from its checkpoints, and unique."""

    #: Name of the job, for display.
    job: str
    #: Unique ID of the job, 32 hexadecimal digits. It differs between jobs of the same name.
    job_id: str
    #: Name of the sink in the job.
    sink: str


@dataclass(frozen=True)
class Owner:
    """The start of a job that writes to the sink."""

    #: Identity of the sink.
    identity: Identity
    #: Number of the job's start; later starts have larger numbers. Once a larger one has opened the sink, a smaller one has been
    #: replaced and must not commit.
    generation: int


class Departures(Generic[R]):
    """Rows to write, in order. Also collects the rows that the sink rejects."""

    def __init__(self, batch: Batch[Any], row: RowType | None) -> None:
        #: The rows as columns, including rejected ones.
        self.batch = batch
        #: Rejected rows: the reason for each index.
        self.refused: dict[int, str] = {}
        self._row = row
        if row is not None:
            self.refused.update(of_columns.nulls(batch.columns, batch.rows, row.columns))

    def __len__(self) -> int:
        """Number of rows, including rejected ones."""
        return self.batch.rows

    def __iter__(self) -> Iterator[R]:
        """Yields the rows, except those rejected so far."""
        return (row for _, row in self.entries())

    def entries(self) -> Iterator[tuple[int, R]]:
        """Yields the rows with their indexes, which `refuse` takes."""
        fields, columns = self.batch.schema.fields, self.batch.columns
        wanted = [(own.name, own.type, own.nullable or self._row is None) for own in fields]
        values = zip(*of_columns.read_all(columns, self.batch.rows, wanted)) if fields else [()] * self.batch.rows
        names = [own.name for own in fields] if self._row is None else self._row.attributes
        make: Any = dict if self._row is None else self._row.make
        for index, own in enumerate(values):
            if index not in self.refused:
                yield index, make(**dict(zip(names, own)))

    def refuse(self, place: int, reason: Any) -> None:
        """Rejects the row at this index."""
        if not 0 <= place < len(self):
            raise IndexError(f"row {place} is rejected, but there are {len(self)} rows")
        self.refused[place] = str(reason)


class SinkRunner(Connector):
    """Runs a class with ``@sink``."""

    world = "sink"
    parameters = {
        "check": ("config",),
        "promise": ("config",),
        "reads": ("config", "input"),
        "committed": ("config", "identity"),
        "open": ("config", "owner", "input"),
        "begin": ("batch", "time"),
        "write": ("rows",),
        "commit": ("batch",),
    }
    needed = ("open", "write", "commit")

    def __init__(self, cls: Any) -> None:
        super().__init__(cls)
        self._row = self._rows()
        if not callable(getattr(cls, "promise", None)) and getattr(cls, "promise", None) not in _PROMISES:
            raise TypeError(f"{cls.__name__}: its attribute `promise` is {' or '.join(map(repr, _PROMISES))}, or a method that tells it")

    def _rows(self) -> RowType | None:
        """Returns the columns of the rows, or None for any columns."""
        own = f"{self._class.__name__}.write()"
        annotation = self._hints("write").get("rows")
        arguments = get_args(annotation)
        if get_origin(annotation) is not Departures or not (arguments[0] is dict or get_origin(arguments[0]) is dict or is_row(arguments[0])):
            raise TypeError(f"{own}: `rows` is `Departures[Row]`, with a dataclass or a named tuple for Row, or `Departures[dict]`")
        if not is_row(arguments[0]):
            return None
        if "reads" in self._takes:
            raise TypeError(f"{self._class.__name__}.reads(): its rows have the columns of {arguments[0].__name__}; write `Departures[dict]`")
        return row_type(arguments[0])

    def describe(self, config: str, input: Schema) -> tuple[Description, str]:
        """Describes the input and the guarantee. Raises ConfigError and InputError."""
        value = self._read(config)
        self._call(self._class, "check", config=value)
        promise: Any = self._class.promise  # type: ignore[attr-defined]
        if callable(promise):
            promise = self._call(self._class, "promise", config=value)
        if promise not in _PROMISES:
            raise TypeError(f"promise() returned {promise!r:.100}, and not {' or '.join(map(repr, _PROMISES))}")
        if promise == "exactly-once" and "committed" not in self._takes:
            message = "a sink that promises exactly-once must have a method `committed`, which returns the last committed batch"
            raise TypeError(f"{self._class.__name__}: {message}")
        return Description(input=self._reads(value, input), config_schema=self._config_schema), promise

    def _reads(self, config: Any, input: Schema) -> Schema:
        if self._row is not None:
            return self._row.schema
        if "reads" not in self._takes:
            found = input
        else:
            found = self._call(self._class, "reads", config=config, input=input)
            if not isinstance(found, Schema):
                raise TypeError(missing_return(self._class.reads, "a Schema"))  # type: ignore[attr-defined]
        for own in found.fields:
            if not is_known(own.type):
                raise InputError(f"column `{own.name}` is {own.type}, which rows cannot hold: cast or drop it before")
        return found

    def committed(self, config: str, identity: Identity) -> int | None:
        """Returns the last stored batch."""
        return _last("committed", self._call(self._class, "committed", config=self._read(config), identity=identity))

    def open(self, config: str, input: Schema, owner: Owner) -> tuple[Any, int | None]:
        """Returns an instance that writes, and the last stored batch."""
        sink = self._class()
        last = self._call(sink, "open", config=self._read(config), owner=owner, input=input)
        return sink, _last("open", last)

    def begin(self, sink: Any, batch: int, time: int) -> None:
        """Starts a batch."""
        self._call(sink, "begin", batch=batch, time=of_columns.Timestamp(time))

    def write(self, sink: Any, input: Schema, rows: Any) -> list[tuple[int, str]]:
        """Writes rows of the batch. Returns the rejected ones."""
        leaving: Departures[Any] = Departures(Batch(rows.rows, rows.columns, input), self._row)
        sink.write(leaving)
        return sorted(leaving.refused.items())

    def commit(self, sink: Any, batch: int) -> None:
        """Commits the batch."""
        self._call(sink, "commit", batch=batch)


def _last(method: str, found: Any) -> int | None:
    if found is None or (isinstance(found, int) and found >= 0):
        return found or None
    raise TypeError(f"{method}() returned {found!r:.100}, and not the number of a batch, or None")
