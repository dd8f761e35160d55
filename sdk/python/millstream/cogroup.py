"""World ``cogroup``: several inputs, grouped by key."""

from __future__ import annotations

from typing import Any

from . import columns as of_columns
from .code import Lines, Output, argument_value, arguments, call, column_variables, compile_row_maker, missing_return_error
from .errors import InternalError
from .plugin import Configured, decorator, group_bounds, refused_rows, within, write_keyed, write_rows
from .row import RowType
from .schema import Description, Schema
from .signature import Parameter, Signature
from .stage import Context, Stage


def cogroup(subject: Any = None, /, *, config_schema: str | None = None) -> Any:
    """Turns a function into a plugin of world ``cogroup``, which is called for each key with its rows from several inputs.

    The function takes one ``Rows[Row]`` (or ``Rows``) per input, in the order of the stage's inputs. In any order it may also take
    its key (a row, or the key columns as parameters), ``Out[Row]`` or ``KeyedOut[Row]``, ``config`` and `Context`. Without an
    output parameter it returns its rows, as in world ``transform``. Raising `Rejection` rejects the rows of the key in all inputs.
    """
    return decorator("cogroup", ByKey, subject, config_schema)


class Cogrouped:
    """Result of a call: output rows, and for each input the rejected rows."""

    def __init__(self, rows: Any, rejected: list[list[tuple[int, str]]]) -> None:
        self.rows = rows
        self.rejected = rejected


class ByKey:
    """Runs a function that is called for each key."""

    def __init__(self, function: Any) -> None:
        signature = Signature(function)
        signature.only("cogroup", "row", "column", "rows", "count", "out", "keyed_out", "config", "context")
        self._function = function
        self._config = Configured(signature)
        self._key, whole = signature.values("key")
        self._has_key = bool(signature.of("row", "column"))
        self._inputs = [own.row for own in signature.of("rows", "count")]
        if not self._inputs:
            raise signature.wrong("it takes no `Rows[…]`; write one for each input")
        self._make_rows = [compile_row_maker(row) if row.make else None for row in self._inputs]
        out, returned = signature.one("out", "keyed_out"), signature.returned
        if returned.kind == "batch" or (out is None) == (returned.kind == "nothing"):
            raise signature.wrong("rows go either to `Out` or are returned")
        self._is_keyed = out is not None and out.kind == "keyed_out"
        self._out = out.row if out else returned.row
        self._run = _loop(signature, self._key, whole, Output(self._out))

    def describe(self, stage: Stage) -> Description:
        """Describes the inputs and the output. Raises ConfigError."""
        self._config.value(stage)
        fields = stage.key.fields if self._is_keyed else []
        return Description(
            inputs=[row.schema for row in self._inputs],
            output=Schema(fields + self._out.fields),
            key=self._key.schema if self._has_key else None,
            config_schema=self._config.schema,
        )

    def cogroup(self, stage: Stage, context: Context, groups: Any) -> Cogrouped:
        """Calls the function for each group."""
        count, inputs = groups.keys.rows, groups.inputs
        if len(inputs) != len(self._inputs):
            raise InternalError(f"{len(inputs)} inputs where {len(self._inputs)} are needed")
        bounds = [group_bounds(own.ends, count, own.rows.rows) for own in inputs]
        missing = [
            of_columns.nulls(own.rows.columns, own.rows.rows, row.columns) for own, row in zip(inputs, self._inputs)
        ]
        columns = of_columns.read_all(groups.keys.columns, count, self._key.columns)
        for index, own in enumerate(inputs):
            columns.append(within(self._rows(index, own.rows), *bounds[index], missing[index]))
        lists, owners, refused = self._run(
            self._function, self._key.make, count, columns, self._config.value(stage), context
        )
        keyed = self._is_keyed
        own = self._function
        rows = write_keyed(self._out, lists, groups.keys, stage.key, owners, own) if keyed else write_rows(self._out, lists, own)
        return Cogrouped(rows, [refused_rows(refused, *own, none) for own, none in zip(bounds, missing)])

    def _rows(self, index: int, rows: Any) -> Any:
        """Returns the rows of an input, or their indexes if the function only counts them."""
        row, make = self._inputs[index], self._make_rows[index]
        if make is None:
            return range(rows.rows)
        values = of_columns.read_all(rows.columns, rows.rows, row.columns)
        return make(row.make, rows.rows, values, of_columns.nulls(rows.columns, rows.rows, row.columns))


def _loop(signature: Signature, key: RowType, whole: Parameter | None, output: Output) -> Any:
    lines, returned = Lines(), signature.returned
    lines.add(0, "def run(_function, _kmake, _count, _columns, _config, _context):")
    lines.add(1, "_refusals = []", "_groups = []", "_groups_add = _groups.append", "_group = 0")
    output.begin(lines, 1)
    if returned.kind == "nothing":
        output.pushes(lines, 1, keyed=bool(signature.of("keyed_out")))
    inputs = {own.name: f"_r{i}" for i, own in enumerate(signature.of("rows", "count"))}
    names = ["_group", *column_variables("k", key), *inputs.values()]
    lines.add(1, f"for {', '.join(names)}, in zip(range(_count), *_columns):")
    lines.add(2, f"_before = len({output.names[0]})", "try:")
    values = arguments(signature, lambda own: inputs.get(own.name) or argument_value("k", key, whole, own))
    call(lines, 3, returned, f"_function({values})", output)
    lines.add(2, "except Rejection as _refused:", "    _refusals.append((_group, str(_refused)))")
    output.truncate(lines, 3, "_before")
    if signature.of("keyed_out"):
        lines.add(3, "del _groups[_before:]")
    lines.add(1, f"return {output.lists}, _groups, _refusals")
    return lines.function(signature.name, output.row, missing_return_error(signature))
