"""Generates the loop that calls a plugin function for its rows.

A loop generated for the fields of its rows costs a fraction of one that looks them up. Rows enter and leave as one list per
column. A row is an object only inside the plugin function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .columns import NOTHING
from .errors import InternalError, Rejection, Remove
from .place import missing_return
from .row import RowType
from .signature import Parameter, Returned, Signature

#: Prefix of the file names of generated code; see `failure`.
FILE = "<millstream "


class Pushes:
    """Argument of a plugin function for `Out` and `KeyedOut`."""

    __slots__ = ("emit", "extend", "push")

    def __init__(self, push: Callable[..., None], emit: Callable[..., None], extend: Callable[..., None]) -> None:
        self.push = push
        self.emit = emit
        self.extend = extend


class Lines:
    """Lines of generated source code."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, depth: int, *lines: str) -> None:
        """Appends lines with this indentation depth."""
        self._lines += [f"{'    ' * depth}{line}" for line in lines]

    def check_returned(self, depth: int, value: str) -> None:
        """Adds a check that fails if a variable with the function's return value is None."""
        self.add(depth, f"if {value} is None:", "    _missing()")

    def function(self, function: str, row: RowType, missing: Callable[[], None] | None = None) -> Callable[..., Any]:
        """Compiles the code and returns its function `run`. ``function`` and ``row`` name the code: the plugin function, and the row
        that it returns. ``missing`` is called if the check of `check_returned` fails; see `missing_return_error`."""
        names: dict[str, Any] = {"InternalError": InternalError, "Pushes": Pushes, "Rejection": Rejection}
        names |= {"Remove": Remove, "_missing": missing, "_nothing": NOTHING}
        code = compile("\n".join(self._lines), f"{FILE}{function} {row.name}>", "exec")
        exec(code, names)
        return names["run"]


def missing_return_error(signature: Signature, hint: str = "") -> Callable[[], None]:
    """Returns a function that raises InternalError because the plugin function returned None instead of a value."""
    returned = signature.returned
    wanted = "rows" if returned.kind == "many" else "a value" if returned.row.make is None else returned.row.name

    def missing() -> None:
        raise InternalError(missing_return(signature.function, wanted, hint))

    return missing


class Output:
    """The lists that collect output rows, one per column. For rows without columns, one list counts them."""

    def __init__(self, row: RowType, prefix: str = "o") -> None:
        self.row = row
        self._prefix = prefix
        self.names = [f"_{prefix}{i}" for i in range(max(len(row.fields), 1))]

    def begin(self, lines: Lines, depth: int) -> None:
        """Creates the lists."""
        for name in self.names:
            lines.add(depth, f"{name} = []", f"{name}_add = {name}.append")

    def push(self, lines: Lines, depth: int, value: str) -> None:
        """Appends the row in a variable."""
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

    def truncate(self, lines: Lines, depth: int, before: str) -> None:
        """Removes all rows from the index in a variable on."""
        for name in self.names:
            lines.add(depth, f"del {name}[{before}:]")

    def pushes(self, lines: Lines, depth: int, keyed: bool) -> None:
        """Creates `_out`. With `keyed`, it adds the group of each row to `_groups`."""
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
            message =  f"{other} has {{len({other})}} values, {first} has {{len({first})}}"
            lines.add(depth, f"if len({other}) != len({first}):", f"    raise ValueError(f'{message}')")
        for name, attribute in zip(self.names, attributes):
            lines.add(depth, f"{name}.extend({attribute})")
        lines.add(depth, *[f"_groups.extend([_group] * len({first}))"] * keyed)

    @property
    def lists(self) -> str:
        """An expression for all lists."""
        return f"[{', '.join(self.names)}]"


def arguments(signature: Signature, values: Callable[[Parameter], str]) -> str:
    """Returns the arguments of a call of the plugin function. `values` returns those that differ between calls."""
    fixed = {"out": "_out", "keyed_out": "_out", "config": "_config", "context": "_context", "timers": "_timers"}
    return ", ".join(fixed.get(own.kind) or values(own) for own in signature.parameters)


def call(lines: Lines, depth: int, returned: Returned, expression: str, output: Output) -> None:
    """Adds a call of the plugin function and appends what it returns. Must be in a `try` that catches rejections."""
    lines.add(depth, f"_r = {expression}")
    if returned.refuses:
        lines.add(depth, "if type(_r) is Rejection:", "    raise _r")
    if returned.kind == "nothing":
        return
    if returned.is_optional:
        lines.add(depth, "if _r is not None:")
        depth += 1
    else:
        lines.check_returned(depth, "_r")
    if returned.kind == "many" and returned.row.make is None:
        lines.add(depth, f"{output.names[0]}.extend(_r)")
        return
    if returned.kind == "many":
        lines.add(depth, "for _r in _r:")
        depth += 1
    output.push(lines, depth, "_r")


def column_variables(prefix: str, row: RowType) -> list[str]:
    """Returns the variables for the values of a row's columns."""
    return [f"_{prefix}{i}" for i in range(len(row.fields))]


def argument_value(prefix: str, row: RowType, whole: Parameter | None, own: Parameter) -> str:
    """Returns the expression of an argument that is a row or a column of it."""
    values = column_variables(prefix, row)
    if whole is not None:
        return row.making(f"_{prefix}make", values)
    return values[row.attributes.index(own.name)]


def compile_row_maker(row: RowType) -> Callable[..., list[Any]]:
    """Returns a function that builds rows from columns. Rows in `missing` become None."""
    lines, values = Lines(), column_variables("v", row)
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
