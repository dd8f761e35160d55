"""World ``update``: state by key, held by the host."""

from __future__ import annotations

from typing import Any

from . import columns as of_columns
from .code import Lines, Output, argument_value, arguments, column_variables, compile_row_maker, missing_return_error
from .columns import empty
from .plugin import Configured, decorator, group_bounds, refused_rows, within, write_keyed, write_rows
from .row import NO_COLUMNS, RowType
from .schema import Description, Schema
from .signature import Parameter, Signature
from .stage import Context, Stage
from .timers import Timers


def update(subject: Any = None, /, *, config_schema: str | None = None) -> Any:
    """Turns a function into a plugin of world ``update``, which is called for each key with its rows and its state.

    The function takes, in any order and each only if needed: its key (a row, or the key columns in their order as parameters),
    ``Rows[Row]`` (or ``Rows`` to count rows of any columns, or ``price: Rows[float]`` for single columns), ``State | None``,
    ``Out[Row]`` or ``KeyedOut[Row]``, ``config``, `Context` and `Timers`.

    It returns the new state, or ``Remove()``, which removes the key. If the function is annotated ``-> State | None``, None also
    removes the key. Otherwise None is an error, because of a missing ``return``. A function that neither takes nor returns a state
    keeps none. Raising `Rejection` rejects all rows of the key and leaves its state unchanged.
    """
    return decorator("update", ByKey, subject, config_schema)


class Updated:
    """Result of a call."""

    def __init__(self, states: Any, kept: bytes, output: Any, rejected: list[tuple[int, str]]) -> None:
        self.states = states
        self.kept = kept
        self.output = output
        self.rejected = rejected


class ByKey:
    """Runs a function that is called for each key."""

    def __init__(self, function: Any) -> None:
        signature = Signature(function)
        kinds = ("row", "column", "rows", "count", "rows_column", "optional", "out", "keyed_out", "config", "context", "timers")
        signature.only("update", *kinds)
        self._function = function
        self._signature = signature
        self._config = Configured(signature)
        self._key, whole = signature.values("key")
        self._has_key = bool(signature.of("row", "column"))
        self._row = _row(signature)
        self._make_rows = compile_row_maker(self._row) if signature.of("rows") else None
        self._state = _state(signature)
        out = signature.one("out", "keyed_out")
        self._is_keyed = out is not None and out.kind == "keyed_out"
        self._out = out.row if out else NO_COLUMNS
        self._timers = signature.one("timers") is not None
        self._run = _loop(signature, self._key, whole, self._state, Output(self._out))

    def describe(self, stage: Stage) -> Description:
        """Describes input, state and output. Raises ConfigError."""
        self._config.value(stage)
        fields = stage.key.fields if self._is_keyed else []
        return Description(
            input=self._row.schema,
            output=Schema(fields + self._out.fields),
            state=self._state.schema,
            key=self._key.schema if self._has_key else None,
            config_schema=self._config.schema,
        )

    def update(self, stage: Stage, context: Context, groups: Any) -> Updated:
        """Calls the function for each group."""
        count, rows = groups.keys.rows, groups.rows
        starts, ends = group_bounds(groups.ends, count, rows.rows)
        values = of_columns.read_all(rows.columns, rows.rows, self._row.columns)
        missing = of_columns.nulls(rows.columns, rows.rows, self._row.columns)
        per_group = self._rows(values, rows.rows, starts, ends, missing)
        key = of_columns.read_all(groups.keys.columns, count, self._key.columns)
        states = of_columns.read_all(groups.states.columns, count, self._state.columns)
        known, timed_out = of_columns.bits(groups.known, count), of_columns.bits(groups.timed_out, count)
        makes = self._key.make, self._state.make
        timers = Timers() if self._timers else None
        columns = [known, timed_out, *key, *states, *per_group]
        found = self._run(self._function, makes, count, columns, self._config.value(stage), context, timers)
        lists, written, kept, owners, refused = found
        keyed = self._is_keyed
        own = self._function
        output = write_keyed(self._out, lists, groups.keys, stage.key, owners, own) if keyed else write_rows(self._out, lists, own)
        rejected = refused_rows(refused, starts, ends, missing)
        return Updated(write_rows(self._state, written, own), of_columns.bitmap(kept), output, rejected)

    def _rows(self, values: Any, rows: int, starts: Any, ends: Any, missing: dict[int, str]) -> list[Any]:
        """Returns, for each parameter that takes rows, its value in each group."""
        found = []
        for own in self._signature.of("rows", "count", "rows_column"):
            if own.kind == "count":
                # Rows with a null in a column that another parameter takes are missing.
                every = within(range(rows), starts, ends, missing)
            elif own.kind == "rows_column":
                every = within(values[self._row.attributes.index(own.name)], starts, ends, missing)
            else:
                every = within(self._make_rows(self._row.make, rows, values, missing), starts, ends, missing)
            found.append(every)
        return found


def _row(signature: Signature) -> RowType:
    whole, columns = signature.one("rows"), signature.of("rows_column")
    if whole and columns:
        raise signature.wrong(f"it takes rows as `{whole.name}` and as `{columns[0].name}`: choose one")
    if whole:
        return whole.row
    return RowType(None, [(own.name, own.row.fields[0]) for own in columns])


def _state(signature: Signature) -> RowType:
    old, returned = signature.one("optional"), signature.returned
    is_state = returned.kind == "row" and returned.row.make is not None
    if not is_state and (old or returned.removes or returned.kind != "nothing"):
        name = old.row.name if old else "State"
        raise signature.wrong(f"it returns the new state: write `-> {name}`, or `-> {name} | Remove` where it removes keys")
    if old and returned.kind == "row" and old.row.make is not returned.row.make:
        raise signature.wrong(f"it takes a state {old.row.name} and returns a {returned.row.name}")
    return old.row if old else returned.row


def _loop(signature: Signature, key: RowType, whole: Parameter | None, state: RowType, output: Output) -> Any:
    lines, returned, new = Lines(), signature.returned, Output(state, "n")
    has_timers, has_context = signature.of("timers"), signature.of("context")
    lines.add(0, "def run(_function, _makes, _count, _columns, _config, _context, _timers):")
    lines.add(1, "_kmake, _smake = _makes", "_kept = []", "_kept_add = _kept.append", "_refusals = []")
    lines.add(1, "_groups = []", "_groups_add = _groups.append")
    output.begin(lines, 1)
    new.begin(lines, 1)
    old = column_variables("s", state)
    rows = [f"_r{i}" for i, _ in enumerate(signature.of("rows", "count", "rows_column"))]
    names = ["_group", "_known", "_timed_out", *column_variables("k", key), *old, *rows]
    lines.add(1, "_group = 0")
    if signature.of("out", "keyed_out"):
        output.pushes(lines, 1, keyed=bool(signature.of("keyed_out")))
    lines.add(1, f"for {', '.join(names)}, in zip(range(_count), *_columns):")
    if has_context:
        lines.add(2, "_context.timed_out = _timed_out")
    if has_timers:
        lines.add(2, "_timers.begin(_group)")
    lines.add(2, f"_before = len({output.names[0]})", "try:")
    values_by_name = {own.name: name for own, name in zip(signature.of("rows", "count", "rows_column"), rows)}

    def value(own: Parameter) -> str:
        if own.kind == "optional":
            return f"({state.making('_smake', old)} if _known else None)"
        return values_by_name.get(own.name) or argument_value("k", key, whole, own)

    lines.add(3, f"_new = _function({arguments(signature, value)})")
    if returned.refuses:
        lines.add(3, "if type(_new) is Rejection:", "    raise _new")
    lines.add(2, "except Rejection as _refused:", "    _refusals.append((_group, str(_refused)))")
    output.truncate(lines, 3, "_before")
    if signature.of("keyed_out"):
        lines.add(3, "del _groups[_before:]")
    if has_timers:
        lines.add(3, "_timers.end(False)")
    lines.add(3, "_kept_add(_known)")
    new.push_values(lines, 3, old)
    lines.add(3, "continue")
    if has_timers:
        lines.add(2, "_timers.end(True)")
    nothing = [repr(empty(own.type)) for own in state.fields]
    if returned.kind == "nothing":
        # Without a state, the key is not kept.
        lines.add(2, "_kept_add(False)")
        new.push_values(lines, 2, nothing)
    else:
        removed = "_new is None or type(_new) is Remove" if returned.is_optional else "type(_new) is Remove"
        lines.add(2, f"if {removed}:", "    _kept_add(False)")
        new.push_values(lines, 3, nothing)
        lines.add(2, "else:")
        lines.check_returned(3, "_new")
        lines.add(3, "_kept_add(True)")
        new.push(lines, 3, "_new")
    lines.add(1, f"return {output.lists}, {new.lists}, _kept, _groups, _refusals")
    return lines.function(signature.name, state, missing_return_error(signature, "To remove the key, write `return Remove()`."))
