"""What plugins of all worlds have in common."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from . import columns as of_columns
from . import config as of_config
from .batch import Batch, take
from .columns import Column
from .errors import InternalError
from .place import place_of
from .row import RowType
from .schema import Description, Schema
from .signature import Signature
from .stage import Context, Stage

P = TypeVar("P")

#: The attribute of a function or class that a decorator has made a plugin.
MARK = "__millstream__"


class Plugin(Generic[P]):
    """A function or class with a decorator of a world: makes what runs it, once it is asked for.

    The types of a function are looked at late, since they may stand below it in its file.
    """

    def __init__(self, world: str, subject: Any, make: Callable[[], P], config_schema: str | None) -> None:
        self.world = world
        self.subject = subject
        self.doc = inspect.cleandoc(subject.__doc__) if subject.__doc__ and not _is_made(subject) else ""
        self.config_schema = config_schema
        self._make = make
        self._runner: P | None = None

    def prepare(self) -> P:
        """Makes what runs it, if it is not there. Raises TypeError where the function's types do not fit the world."""
        if self._runner is None:
            self._runner = self._make()
        return self._runner

    @property
    def runner(self) -> P:
        """What runs it."""
        return self.prepare()

    def finish(self, description: Description) -> Description:
        """The description with the config's schema and the doc."""
        if self.config_schema is not None:
            description.config_schema = self.config_schema
        description.doc = description.doc or self.doc
        return description


def _is_made(subject: Any) -> bool:
    """Whether the doc string is the one that `dataclass` makes."""
    return isinstance(subject, type) and subject.__doc__.startswith(f"{subject.__name__}(")


def decorator(world: str, make: Callable[[Any], Any], subject: Any, config_schema: str | None) -> Any:
    """Marks a function or class as a plugin of a world; with or without the brackets of a decorator."""

    def mark(subject: Any) -> Any:
        setattr(subject, MARK, Plugin(world, subject, lambda: make(subject), config_schema))
        return subject

    return mark if subject is None else mark(subject)


def plugin_of(subject: Any, world: str) -> Plugin[Any]:
    """The plugin that a decorator made of this. Raises TypeError where there is none of this world."""
    plugin = getattr(subject, MARK, None)
    if not isinstance(plugin, Plugin) or plugin.world != world:
        raise TypeError(f"{subject!r} is not a plugin of world {world}: it lacks the decorator @{world}")
    return plugin


class Configured:
    """Reads the config by the parameter `config` of a function, and keeps it while it stays the same."""

    def __init__(self, signature: Signature) -> None:
        own = signature.one("config")
        self._type = own.of if own else None
        self._of: str | None = None
        self._value: Any = None

    def value(self, stage: Stage) -> Any:
        """The config. Raises ConfigError."""
        if self._type is None:
            return stage.no_config()
        return of_config.read(self._type, stage.config)

    @property
    def schema(self) -> str:
        """Its JSON Schema."""
        return of_config.schema(self._type) if self._type else ""


def write_rows(rows: RowType, lists: list[list[Any]], function: Any = None) -> Batch[Any]:
    """A batch of the lists of its columns; see `code.Output`. Raises InternalError, which names field, row and ``function``, which made
    them, for a value of another type."""
    try:
        made = [of_columns.write(values, *field) for values, field in zip(lists, rows.columns)]
    except of_columns.WrongValue as wrong:
        values = (f"{name}={of_columns.short(own[wrong.row])}" for name, own in zip(rows.attributes, lists))
        told = f"{wrong}; row {wrong.row} of what it returned is {rows.name}({', '.join(values)})"
        raise InternalError(told + place_of(function)) from None
    return Batch(len(lists[0]), made, rows.schema)


def write_keyed(
    rows: RowType, lists: list[list[Any]], keys: Any, key: Schema, groups: list[int], function: Any = None
) -> Batch[Any]:
    """The same with the key of each row's group before its own columns."""
    own = write_rows(rows, lists, function)
    # Mostly there is one row a group: then the key columns go back as they came.
    each_once = len(groups) == keys.rows and groups == list(range(keys.rows))
    columns = keys.columns if each_once else take(keys.columns, keys.rows, key, groups)
    return Batch(own.rows, [*columns, *own.columns], Schema(key.fields + own.schema.fields))


def group_bounds(ends: bytes, count: int, rows: int) -> tuple[list[int], list[int]]:
    """Where the rows of each group begin and end. Raises InternalError where that is out of order."""
    found = of_columns.offsets(Column(b"", offsets=ends), max(count - 1, 0)).tolist() if count else []
    starts = [0, *found[:-1]] if found else []
    for group, (start, end) in enumerate(zip(starts, found)):
        if end < start or end > rows:
            raise InternalError(f"group {group} ends at row {end}, which is out of order")
    return starts, found


def within(rows: Sequence[Any], starts: list[int], ends: list[int], missing: dict[int, str]) -> list[list[Any]]:
    """The rows of each group, without those that are missing."""
    if not missing:
        return [rows[start:end] for start, end in zip(starts, ends)]
    bounds = zip(starts, ends)
    return [[rows[row] for row in range(start, end) if row not in missing] for start, end in bounds]


def refused_rows(
    refused: Iterable[tuple[int, str]], starts: list[int], ends: list[int], missing: dict[int, str]
) -> list[tuple[int, str]]:
    """The rows that are refused: those that are missing, and all others of groups that were refused."""
    rejected = list(missing.items())
    for group, reason in refused:
        rejected += [(row, reason) for row in range(starts[group], ends[group]) if row not in missing]
    return sorted(rejected)


