"""Code that is written for a plugin function: the loop over its rows.

A loop that knows the fields of its rows costs a fraction of one that asks for them. Rows go in as one list a column, and come
out as one list a column; a row is an object only while the plugin function has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .columns import NOTHING
from .errors import InternalError, Rejection, Remove
from .place import missing_return
from .row import RowType
from .signature import Parameter, Returned, Signature

#: How the file names of such code begin; see `failure`.
FILE = "<millstream "


class Pushes:
    """What a function is passed for `Out` and `KeyedOut`."""

    __slots__ = ("emit", "extend", "push")

    def __init__(self, push: Callable[..., None], emit: Callable[..., None], extend: Callable[..., None]) -> None:
        self.push = push
        self.emit = emit
        self.extend = extend


class Lines:
    """Source code, line by line."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, depth: int, *lines: str) -> None:
        """Appends lines that are indented this deep."""
        self._lines += [f"{'    ' * depth}{line}" for line in lines]

    def is_returned(self, depth: int, value: str) -> None:
        """Fails where a variable, what the plugin function has returned, is None."""
        self.add(depth, f"if {value} is None:", "    _missing()")

    def function(self, function: str, row: RowType, missing: Callable[[], None] | None = None) -> Callable[..., Any]:
        """The function `run` of this code, for the plugin function of this name and the rows that it returns. ``missing`` is
        called where `is_returned` finds nothing; see `fails_without`."""
        names: dict[str, Any] = {"InternalError": InternalError, "Pushes": Pushes, "Rejection": Rejection}
        names |= {"Remove": Remove, "_missing": missing, "_nothing": NOTHING}
        code = compile("\n".join(self._lines), f"{FILE}{function} {row.name}>", "exec")
        exec(code, names)
        return names["run"]


def fails_without(signature: Signature, hint: str = "") -> Callable[[], None]:
    """A function that fails since the plugin function has returned nothing where it must return something."""
    returned = signature.returned
    wanted = "rows" if returned.kind == "many" else "a value" if returned.row.make is None else returned.row.name

    def missing() -> None:
        raise InternalError(missing_return(signature.function, wanted, hint))

    return missing


class Output:
    """The lists that rows go to, one a column; for rows without columns one that counts them."""

    def __init__(self, row: RowType, prefix: str = "o") -> None:
        self.row = row
        self._prefix = prefix
        self.names = [f"_{prefix}{i}" for i in range(max(len(row.fields), 1))]

    def begin(self, lines: Lines, depth: int) -> None:
        """Makes the lists."""
        for name in self.names:
            lines.add(depth, f"{name} = []", f"{name}_add = {name}.append")

    def push(self, lines: Lines, depth: int, value: str) -> None:
        """Appends the row that a variable holds."""
        attributes = self.row.attributes
        if not attributes:
            lines.add(depth, f"{self.names[0]}_add(None)")
        elif self.row.make is None:
            self.push_values(lines, depth, [value])
        elif self.row.is_tuple:
            parts = [f"_{self._prefix}v{i}" for i in range(len(attributes))]
            lines.add(depth, f"{', '.join(parts)}, = {value}")
            self.push_values(lines, depth, parts)
        else:
            self.push_values(lines, depth, [f"{value}.{attribute}" for attribute in attributes])

    def push_values(self, lines: Lines, depth: int, values: list[str]) -> None:
        """Appends a row of these expressions."""
        for name, value in zip(self.names, values or ["None"]):
            lines.add(depth, f"{name}_add({value})")

    def take_back(self, lines: Lines, depth: int, before: str) -> None:
        """Forgets all rows from a number on."""
        for name in self.names:
            lines.add(depth, f"del {name}[{before}:]")

    def pushes(self, lines: Lines, depth: int, keyed: bool) -> None:
        """Makes `_out`; with `keyed` the group of each row goes to `_groups`."""
        names = ", ".join(self.row.attributes)
        lines.add(depth, "def _push(_row):")
        self.push(lines, depth + 1, "_row")
        lines.add(depth + 1, *["_groups_add(_group)"] * keyed)
        lines.add(depth, f"def _emit({names}):")
        self.push_values(lines, depth + 1, list(self.row.attributes))
        lines.add(depth + 1, *["_groups_add(_group)"] * keyed)
        lines.add(depth, f"def _extend({names}):")
        self._extend(lines, depth + 1, keyed)
        lines.add(depth, "_out = Pushes(_push, _emit, _extend)")

    def _extend(self, lines: Lines, depth: int, keyed: bool) -> None:
        attributes = self.row.attributes
        if not attributes:
            lines.add(depth, "pass")
            return
        first, *others = attributes
        for other in others:
            words = f"{other} has {{len({other})}} values, {first} has {{len({first})}}"
            lines.add(depth, f"if len({other}) != len({first}):", f"    raise ValueError(f'{words}')")
        for name, attribute in zip(self.names, attributes):
            lines.add(depth, f"{name}.extend({attribute})")
        lines.add(depth, *[f"_groups.extend([_group] * len({first}))"] * keyed)

    @property
    def lists(self) -> str:
        """An expression for all the lists."""
        return f"[{', '.join(self.names)}]"


def arguments(signature: Signature, values: Callable[[Parameter], str]) -> str:
    """The arguments of a call of the plugin function. `values` gives those that are not the same in every call."""
    fixed = {"out": "_out", "keyed_out": "_out", "config": "_config", "context": "_context", "timers": "_timers"}
    return ", ".join(fixed.get(own.kind) or values(own) for own in signature.parameters)


def call(lines: Lines, depth: int, returned: Returned, expression: str, output: Output) -> None:
    """Calls the plugin function and pushes what it returns, within a `try` for rejections."""
    lines.add(depth, f"_r = {expression}")
    if returned.refuses:
        lines.add(depth, "if type(_r) is Rejection:", "    raise _r")
    if returned.kind == "nothing":
        return
    if returned.is_optional:
        lines.add(depth, "if _r is not None:")
        depth += 1
    else:
        lines.is_returned(depth, "_r")
    if returned.kind == "many" and returned.row.make is None:
        lines.add(depth, f"{output.names[0]}.extend(_r)")
        return
    if returned.kind == "many":
        lines.add(depth, "for _r in _r:")
        depth += 1
    output.push(lines, depth, "_r")


def values_of(prefix: str, row: RowType) -> list[str]:
    """The variables that hold the columns of a row, one by one."""
    return [f"_{prefix}{i}" for i in range(len(row.fields))]


def taken(prefix: str, row: RowType, whole: Parameter | None, own: Parameter) -> str:
    """An argument that is a row, or a column of one."""
    values = values_of(prefix, row)
    if whole is not None:
        return row.making(f"_{prefix}make", values)
    return values[row.attributes.index(own.name)]


def makes_rows(row: RowType) -> Callable[..., list[Any]]:
    """A function that makes rows of columns; those in `missing` become None."""
    lines, values = Lines(), values_of("v", row)
    making = row.making("_make", values)
    lines.add(0, "def run(_make, _rows, _columns, _missing):")
    if not values:
        lines.add(1, f"return [{making} for _ in range(_rows)]")
        return lines.function("rows", row)
    lines.add(
        1,
        "if _missing:",
        f"    return [None if _i in _missing else {making} "
        f"for _i, {', '.join(values)} in zip(range(_rows), *_columns)]",
        f"return [{making} for {', '.join(values)}, in zip(*_columns)]",
    )
    return lines.function("rows", row)
