"""Writes Millstream plugins in Python: a function on rows becomes a WebAssembly component.

    from dataclasses import dataclass
    from millstream import Out, transform

    @dataclass
    class Word:
        word: str

    @transform
    def split(value: str, out: Out[Word]) -> None:
        for word in value.split():
            out.emit(word)

`transform`, `update`, `aggregate`, `cogroup`, `source` and `sink` turn a function or a class into a plugin of that world.
`millstream.testing` runs it in plain Python.
"""

from . import counter, files, http, log, net
from .aggregate import aggregate
from .batch import Batch, TextColumn
from .cogroup import cogroup
from .columns import Timestamp
from .errors import ConfigError, InputError, InternalError, Rejection, Remove
from .migrate import migrate
from .row import Column
from .schema import Description, Field, Schema
from .signature import KeyedOut, Out, Rows
from .sink import Departures, Identity, Owner, Promise, sink
from .source import Arrivals, Polled, source
from .stage import Context, Stage
from .timers import Timers
from .transform import Transformed, transform
from .update import update
from .written import ColumnType

__all__ = [
    "Arrivals",
    "Batch",
    "Column",
    "ColumnType",
    "ConfigError",
    "Context",
    "Departures",
    "Description",
    "Field",
    "Identity",
    "InputError",
    "InternalError",
    "KeyedOut",
    "Out",
    "Owner",
    "Polled",
    "Promise",
    "Rejection",
    "Remove",
    "Rows",
    "Schema",
    "Stage",
    "TextColumn",
    "Timers",
    "Timestamp",
    "Transformed",
    "aggregate",
    "cogroup",
    "counter",
    "files",
    "http",
    "log",
    "migrate",
    "net",
    "sink",
    "source",
    "transform",
    "update",
]
