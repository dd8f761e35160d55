"""World ``update-migrating``: converts states of other versions of a plugin."""

from __future__ import annotations

from typing import Any

from . import columns as of_columns
from .batch import Batch
from .errors import InternalError
from .place import missing_return
from .plugin import decorator, write_rows
from .row import RowType
from .schema import Schema
from .signature import Signature


def migrate(subject: Any, /) -> Any:
    """Turns a function into a migration, which converts a state of another version of the plugin.

    It takes an old state as a row and returns a state of this version. A module may have a migration for each format of old
    states; the columns decide which one runs. In ``pyproject.toml``, the world of the plugin is ``update-migrating``.
    """
    return decorator("migrate", Migration, subject, None)


class Migration:
    """Runs a function that converts old states."""

    def __init__(self, function: Any) -> None:
        signature = Signature(function)
        signature.only("update-migrating", "row")
        old, returned = signature.one("row"), signature.returned
        if old is None:
            raise signature.wrong("it takes a state of another version: a row")
        if returned.kind != "row" or returned.is_optional or returned.refuses or returned.row.make is None:
            raise signature.wrong("it returns the new state: a row")
        self._function = function
        self.old: RowType = old.row
        self.new: RowType = returned.row

    def migrate(self, states: Any) -> Batch[Any]:
        """Returns the new state of each old one."""
        count, attributes = states.rows, self.old.attributes
        values = of_columns.read_all(states.columns, count, self.old.columns)
        lists: list[list[Any]] = [[] for _ in self.new.attributes]
        for row in range(count):
            old = self.old.make(**{name: column[row] for name, column in zip(attributes, values)})
            new = self._function(old)
            if new is None:
                raise InternalError(missing_return(self._function, self.new.name))
            for name, written in zip(self.new.attributes, lists):
                written.append(getattr(new, name))
        if not lists:
            return Batch(count, [], self.new.schema)
        return write_rows(self.new, lists)


class Migrations:
    """The migrations of a plugin. The one whose columns match the old states runs."""

    def __init__(self, all: list[Migration]) -> None:
        self._all = all

    def migrate(self, version: str, schema: Schema, states: Any) -> Batch[Any]:
        """Returns the new states. Raises InternalError if no migration matches the old ones."""
        for own in self._all:
            if own.old.schema == schema:
                return own.migrate(states)
        known = " or ".join(f"({own.old.schema})" for own in self._all)
        raise InternalError(f"states of version {version} have the columns ({schema}); expected {known}")
