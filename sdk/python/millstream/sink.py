"""World ``sink``: rows that leave for elsewhere."""

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

#: What becomes of a batch that was handed over when something failed. ``exactly-once``: all of its rows are there together with its
#: id, or none is, and `committed` and `open` tell the last id. ``at-least-once``: nobody can tell. It is handed over again, and rows may be
#: there twice.
Promise = Literal["exactly-once", "at-least-once"]
_PROMISES = get_args(Promise)


def sink(subject: Any = None, /, *, config_schema: str | None = None) -> Any:
    """Makes a class a plugin of world ``sink``: an instance of it writes the batches of one sink.

    Its methods are ``open(config, owner, input)``, which returns the last batch that is there (or None), ``begin(batch, time)`` if wanted,
    ``write(rows)`` and ``commit(batch)``; for the class ``check(config)``, ``reads(config, input)`` and ``committed(config, identity)``. What it
    promises is the attribute ``promise``, or a method for the class: ``promise(config)``. A method takes the parameters of these names
    that it wants. ``rows`` is ``Departures[Row]``, or ``Departures[dict]`` for the columns that ``reads`` gives back, else all. ``config`` is a
    dataclass or a dict.

    A `ConfigError` ends the job, and so does an `InputError`, which is about the rows. An `InternalError` or an OSError, as of `net`, is taken
    for something that passes: the instance is thrown away, and after a while another one is opened and gets the batch from its
    beginning, unless ``open`` says that it is there. Any other exception is a mistake in the plugin, and ends the job as well.
    """
    return decorator("sink", SinkRunner, subject, config_schema)


@dataclass(frozen=True)
class Identity:
    """Whose rows they are: the same at every start of a job that goes on from its checkpoints, and of nobody else."""

    #: The job's name, for people.
    job: str
    #: What tells this job from all others, those of the same name as well: 32 hexadecimal digits.
    job_id: str
    #: The sink's name in the job.
    sink: str


@dataclass(frozen=True)
class Owner:
    """Who writes."""

    #: Whose rows they are.
    identity: Identity
    #: Which start of the job it is: later ones have larger numbers. Once a larger one has opened the sink, whoever has a smaller one
    #: has lost the job, and must not commit any more.
    generation: int


class Departures(Generic[R]):
    """Rows that leave, in order; and those of them that the sink refuses."""

    def __init__(self, batch: Batch[Any], row: RowType | None) -> None:
        #: The rows as columns, refused ones included.
        self.batch = batch
        #: What is refused: the reason by the place of the row.
        self.refused: dict[int, str] = {}
        self._row = row
        if row is not None:
            self.refused.update(of_columns.nulls(batch.columns, batch.rows, row.columns))

    def __len__(self) -> int:
        """How many there are, refused ones included."""
        return self.batch.rows

    def __iter__(self) -> Iterator[R]:
        """The rows, but for those that are refused by then."""
        return (row for _, row in self.entries())

    def entries(self) -> Iterator[tuple[int, R]]:
        """The same with the place of each, which `refuse` takes."""
        fields, columns = self.batch.schema.fields, self.batch.columns
        wanted = [(own.name, own.type, own.nullable or self._row is None) for own in fields]
        values = zip(*of_columns.read_all(columns, self.batch.rows, wanted)) if fields else [()] * self.batch.rows
        names = [own.name for own in fields] if self._row is None else self._row.attributes
        make: Any = dict if self._row is None else self._row.make
        for place, own in enumerate(values):
            if place not in self.refused:
                yield place, make(**dict(zip(names, own)))

    def refuse(self, place: int, reason: Any) -> None:
        """Refuses the row at this place."""
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
        """The columns of its rows; None: any."""
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
        """Says what is read, and what is promised. Raises ConfigError and InputError."""
        value = self._read(config)
        self._call(self._class, "check", config=value)
        promise: Any = self._class.promise  # type: ignore[attr-defined]
        if callable(promise):
            promise = self._call(self._class, "promise", config=value)
        if promise not in _PROMISES:
            raise TypeError(f"promise() returned {promise!r:.100}, and not {' or '.join(map(repr, _PROMISES))}")
        if promise == "exactly-once" and "committed" not in self._takes:
            words = "a sink that promises exactly-once must have a method `committed`, which returns the last committed batch"
            raise TypeError(f"{self._class.__name__}: {words}")
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
        """The last batch that is there."""
        return _last("committed", self._call(self._class, "committed", config=self._read(config), identity=identity))

    def open(self, config: str, input: Schema, owner: Owner) -> tuple[Any, int | None]:
        """An instance that writes, and the last batch that is there."""
        sink = self._class()
        last = self._call(sink, "open", config=self._read(config), owner=owner, input=input)
        return sink, _last("open", last)

    def begin(self, sink: Any, batch: int, time: int) -> None:
        """A batch begins."""
        self._call(sink, "begin", batch=batch, time=of_columns.Timestamp(time))

    def write(self, sink: Any, input: Schema, rows: Any) -> list[tuple[int, str]]:
        """More rows of the batch; those that are refused."""
        leaving: Departures[Any] = Departures(Batch(rows.rows, rows.columns, input), self._row)
        sink.write(leaving)
        return sorted(leaving.refused.items())

    def commit(self, sink: Any, batch: int) -> None:
        """All rows of the batch were written."""
        self._call(sink, "commit", batch=batch)


def _last(method: str, found: Any) -> int | None:
    if found is None or (isinstance(found, int) and found >= 0):
        return found or None
    raise TypeError(f"{method}() returned {found!r:.100}, and not the number of a batch, or None")
