"""Common code for plugins of all worlds."""

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

#: Attribute that a decorator sets on a function or class to make it a plugin.
MARK = "__millstream__"


class Plugin(Generic[P]):
    """A function or class with a world's decorator. Creates its runner on demand.

    Types are resolved late, since a type may be defined after the function in the file.
    """

    def __init__(self, world: str, subject: Any, make: Callable[[], P], config_schema: str | None) -> None:
        self.world = world
        self.subject = subject
        self.doc = inspect.cleandoc(subject.__doc__) if subject.__doc__ and not _is_made(subject) else ""
        self.config_schema = config_schema
        self._make = make
        self._runner: P | None = None

    def prepare(self) -> P:
        """Creates the runner, if it does not exist. Raises TypeError if the function's types do not fit the world."""
        if self._runner is None:
            self._runner = self._make()
        return self._runner

    @property
    def runner(self) -> P:
        """The runner of the plugin."""
        return self.prepare()

    def finish(self, description: Description) -> Description:
        """Adds the config's schema and the docstring to a description."""
        if self.config_schema is not None:
            description.config_schema = self.config_schema
        description.doc = description.doc or self.doc
        return description


def _is_made(subject: Any) -> bool:
    """Returns whether `dataclass` generated the docstring."""
    return isinstance(subject, type) and subject.__doc__.startswith(f"{subject.__name__}(")


def decorator(world: str, make: Callable[[Any], Any], subject: Any, config_schema: str | None) -> Any:
    """Marks a function or class as a plugin of a world. Supports decorators with and without arguments."""

    def mark(subject: Any) -> Any:
        setattr(subject, MARK, Plugin(world, subject, lambda: make(subject), config_schema))
        return subject

    return mark if subject is None else mark(subject)


def plugin_of(subject: Any, world: str) -> Plugin[Any]:
    """Returns the plugin that a decorator created. Raises TypeError if there is none of this world."""
    plugin = getattr(subject, MARK, None)
    if not isinstance(plugin, Plugin) or plugin.world != world:
        raise TypeError(f"{subject!r} is not a plugin of world {world}: it lacks the decorator @{world}")
    return plugin


class Configured:
    """Reads the config for the parameter `config` of a function, and caches it until it changes."""

    def __init__(self, signature: Signature) -> None:
        own = signature.one("config")
        self._type = own.of if own else None
        self._of: str | None = None
        self._value: Any = None

    def value(self, stage: Stage) -> Any:
        """Returns the config. Raises ConfigError."""
        if self._type is None:
            return stage.no_config()
        return of_config.read(self._type, stage.config)

    @property
    def schema(self) -> str:
        """JSON Schema of the config."""
        return of_config.schema(self._type) if self._type else ""


def write_rows(rows: RowType, lists: list[list[Any]], function: Any = None) -> Batch[Any]:
    """Converts lists of columns to a batch; see `code.Output`.

    Raises InternalError for a value of another type. The message names the field, the row and ``function``, which returned them.
    """
    try:
        made = [of_columns.write(values, *field) for values, field in zip(lists, rows.columns)]
    except of_columns.WrongValue as wrong:
        values = (f"{name}={of_columns.short(own[wrong.row])}" for name, own in zip(rows.attributes, lists))
        message = f"{wrong}; row {wrong.row} of what it returned is {rows.name}({', '.join(values)})"
        raise InternalError(message + place_of(function)) from None
    return Batch(len(lists[0]), made, rows.schema)


def write_keyed(
    rows: RowType, lists: list[list[Any]], keys: Any, key: Schema, groups: list[int], function: Any = None
) -> Batch[Any]:
    """Like `write_rows`, with the key of each row's group before the row's columns."""
    own = write_rows(rows, lists, function)
    # Usually each group has one row. Then the key columns are returned unchanged.
    each_once = len(groups) == keys.rows and groups == list(range(keys.rows))
    columns = keys.columns if each_once else take(keys.columns, keys.rows, key, groups)
    return Batch(own.rows, [*columns, *own.columns], Schema(key.fields + own.schema.fields))


def group_bounds(ends: bytes, count: int, rows: int) -> tuple[list[int], list[int]]:
    """Returns the start and end of each group's rows. Raises InternalError if they are out of order."""
    found = of_columns.offsets(Column(b"", offsets=ends), max(count - 1, 0)).tolist() if count else []
    starts = [0, *found[:-1]] if found else []
    for group, (start, end) in enumerate(zip(starts, found)):
        if end < start or end > rows:
            raise InternalError(f"group {group} ends at row {end}, which is out of order")
    return starts, found


def within(rows: Sequence[Any], starts: list[int], ends: list[int], missing: dict[int, str]) -> list[list[Any]]:
    """Returns the rows of each group, without the missing ones."""
    if not missing:
        return [rows[start:end] for start, end in zip(starts, ends)]
    bounds = zip(starts, ends)
    return [[rows[row] for row in range(start, end) if row not in missing] for start, end in bounds]


def refused_rows(
    refused: Iterable[tuple[int, str]], starts: list[int], ends: list[int], missing: dict[int, str]
) -> list[tuple[int, str]]:
    """Returns the rejected rows: the missing ones, and all other rows of rejected groups."""
    rejected = list(missing.items())
    for group, reason in refused:
        rejected += [(row, reason) for row in range(starts[group], ends[group]) if row not in missing]
    return sorted(rejected)


