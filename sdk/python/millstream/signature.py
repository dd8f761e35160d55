"""Parameters and return value of a plugin function, read from its annotations."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar, Union, get_args, get_origin

from .batch import Batch
from .errors import Rejection, Remove
from .row import NO_COLUMNS, RowType, is_row, optional, row_type, scalar
from .stage import Context
from .timers import Timers

R = TypeVar("R")
S = TypeVar("S", contravariant=True)


class Rows(collections.abc.Sequence[R]):
    """The rows of one key in a batch, in the order of arrival: a list. For annotations only.

    ``Rows[Click]`` are rows of a class. ``Rows`` alone accepts any columns, and such rows can only be counted. In world ``update``,
    ``price: Rows[float]`` is the column ``price`` of the rows.
    """


class Out(Protocol[S]):
    """Collects output rows. For annotations of parameters only."""

    def push(self, row: S, /) -> None:
        """Appends a row."""

    def emit(self, *values: Any, **named: Any) -> None:
        """Appends a row of these values, in the order of the fields or by name. Faster than `push`, which needs a row object."""

    def extend(self, *columns: collections.abc.Sequence[Any], **named: collections.abc.Sequence[Any]) -> None:
        """Appends many rows at once: one list per field, in order or by name. The fastest way."""


class KeyedOut(Out[S], Protocol[S]):
    """Collects output rows, each with the key of its group before its columns. For worlds ``update`` and ``cogroup``."""


class Parameter:
    """A parameter of a plugin function."""

    def __init__(self, kind: str, name: str, row: RowType = NO_COLUMNS, of: Any = None) -> None:
        #: `row`, `column`, `rows`, `count`, `rows_column`, `batch`, `optional`, `out`, `keyed_out`, `config`, `context` or
        #: `timers`.
        self.kind = kind
        self.name = name
        self.row = row
        #: Type of the config.
        self.of = of


class Returned:
    """Return value of a plugin function."""

    def __init__(
        self,
        kind: str,
        row: RowType = NO_COLUMNS,
        is_optional: bool = False,
        refuses: bool = False,
        removes: bool = False,
    ) -> None:
        #: `nothing`, `row`, `many` or `batch`.
        self.kind = kind
        self.row = row
        #: Whether it may be None.
        self.is_optional = is_optional
        #: Whether it may be a `Rejection`.
        self.refuses = refuses
        #: Whether it may be a `Remove`.
        self.removes = removes


class Signature:
    """The parameters and the return value of a plugin function.

    Raises TypeError, which names function and parameter, if an annotation is missing or not supported.
    """

    def __init__(self, function: Callable[..., Any], is_method: bool = False) -> None:
        self.function = function
        self.name = function.__qualname__
        hints = typing.get_type_hints(function, include_extras=True)
        parameters = list(inspect.signature(function).parameters.values())[1 if is_method else 0 :]
        self.parameters = [self._parameter(own, hints) for own in parameters]
        self.returned = self._returned(hints.get("return", type(None)), function.__name__)

    def of(self, *kinds: str) -> list[Parameter]:
        """Returns the parameters of these kinds."""
        return [own for own in self.parameters if own.kind in kinds]

    def one(self, *kinds: str) -> Parameter | None:
        """Returns the parameter of these kinds, or None. Raises TypeError if there are several."""
        found = self.of(*kinds)
        if len(found) > 1:
            raise self.wrong(f"the parameter `{found[1].name}` is a second one of its kind")
        return found[0] if found else None

    def values(self, what: str) -> tuple[RowType, Parameter | None]:
        """Returns the row that the function takes by value: as one parameter, or as one parameter per column."""
        whole, columns = self.one("row"), self.of("column")
        if whole and columns:
            raise self.wrong(f"it takes its {what} as `{whole.name}` and as `{columns[0].name}`: choose one")
        if whole:
            return whole.row, whole
        return RowType(None, [(own.name, own.row.fields[0]) for own in columns]), None

    def only(self, world: str, *kinds: str) -> None:
        """Raises TypeError if a parameter is of another kind."""
        for own in self.parameters:
            if own.kind not in kinds:
                raise self.wrong(f"the parameter `{own.name}` is not supported in world {world}")
        if self.returned.removes and world != "update":
            raise self.wrong("it returns `Remove`, which only functions of world update do")

    def wrong(self, what: str) -> TypeError:
        """Returns an error that names the function."""
        return TypeError(f"{self.name}(): {what}")

    def _parameter(self, parameter: inspect.Parameter, hints: dict[str, Any]) -> Parameter:
        name = parameter.name
        if name not in hints:
            raise self.wrong(f"the parameter `{name}` has no type; write one, as in `{name}: str`")
        annotation = hints[name]
        column = scalar(name, annotation)
        if column is not None:
            return Parameter("column", name, RowType(None, [(name, column)]))
        if name == "config":
            return Parameter("config", name, of=annotation)
        origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
        inner, is_optional = optional(annotation)
        if origin in (Out, KeyedOut):
            return Parameter("out" if origin is Out else "keyed_out", name, self._row(arguments, name))
        if origin is Context:
            return Parameter("context", name)
        if origin is Timers:
            return Parameter("timers", name)
        if origin is Batch:
            return Parameter("batch", name, self._row(arguments, name))
        if origin is Rows:
            return self._rows(name, arguments)
        if is_optional and is_row(inner):
            return Parameter("optional", name, row_type(inner))
        if is_row(annotation):
            return Parameter("row", name, row_type(annotation))
        raise self.wrong(f"the parameter `{name}` is of the type {annotation!r}, which is neither a row nor another supported type")

    def _rows(self, name: str, arguments: tuple[Any, ...]) -> Parameter:
        if not arguments:
            return Parameter("count", name)
        column = scalar(name, arguments[0])
        if column is not None:
            return Parameter("rows_column", name, RowType(None, [(name, column)]))
        return Parameter("rows", name, self._row(arguments, name))

    def _row(self, arguments: tuple[Any, ...], name: str) -> RowType:
        if len(arguments) != 1 or not is_row(arguments[0]):
            raise self.wrong(f"`{name}` is made of rows: write a dataclass or a named tuple into the brackets")
        return row_type(arguments[0])

    def _returned(self, annotation: Any, column: str) -> Returned:
        inner, is_optional = optional(annotation)
        choices = get_args(inner) if get_origin(inner) in (Union, types.UnionType) else (inner,)
        rest = [choice for choice in choices if choice not in (Rejection, Remove)]
        refuses, removes = Rejection in choices, Remove in choices
        if len(rest) > 1:
            raise self.wrong(f"it returns one kind of row, not {annotation!r}")
        inner = rest[0] if rest else type(None)
        if inner is type(None):
            return Returned("nothing", is_optional=is_optional, refuses=refuses, removes=removes)
        if get_origin(inner) is Batch:
            return Returned("batch", self._row(get_args(inner), "return"))
        row = _returned_row(column, inner)
        if row is not None:
            return Returned("row", row, is_optional, refuses, removes)
        row = _returned_row(column, _item(inner))
        if row is not None:
            return Returned("many", row, is_optional, refuses, removes)
        raise self.wrong(
            f"it returns {annotation!r}; rows are dataclasses, named tuples or single values, or lists or iterators of these"
        )


def _returned_row(column: str, annotation: Any) -> RowType | None:
    """Returns the row of an annotation: a row class, or a single value whose column has the function's name."""
    own = scalar(column, annotation)
    if own is not None:
        return RowType(None, [(column, own)])
    return row_type(annotation) if is_row(annotation) else None


def _item(annotation: Any) -> Any:
    """Returns the item type of a list or an iterator, or None if the annotation is neither."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if not isinstance(origin, type) or not issubclass(origin, collections.abc.Iterable) or not arguments:
        return None
    is_many = origin is not tuple or arguments[1:] == (Ellipsis,)
    return arguments[0] if is_many and not issubclass(origin, collections.abc.Mapping) else None
