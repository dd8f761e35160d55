"""World ``aggregate``: reduces rows with lift, combine and lower."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import columns as of_columns
from .code import Lines, Output, argument_value, column_variables, missing_return_error
from .errors import InputError, InternalError
from .plugin import Configured, decorator, write_rows
from .row import RowType
from .schema import Description
from .signature import Parameter, Signature
from .stage import Context, Stage


def aggregate(subject: Any = None, /, *, config_schema: str | None = None) -> Any:
    """Turns a class with the methods ``lift``, ``combine``, ``lower`` and optionally ``inverse`` into a plugin of world ``aggregate``.

    ``lift`` takes a row, or columns as parameters, and returns an accumulator. ``combine`` takes two accumulators and returns one.
    ``lower`` takes an accumulator, optionally after the key, and returns the output row. ``inverse`` removes an accumulator from
    another one. Each method may also take a `Context`. With a config, ``__init__`` takes it as ``config``.
    """
    return decorator("aggregate", Reduced, subject, config_schema)


class Step:
    """A method of the class, and the loop that calls it."""

    def __init__(self, cls: Any, name: str) -> None:
        method = cls.__dict__.get(name) or getattr(cls, name, None)
        if method is None:
            raise TypeError(f"{cls.__name__}: the method `{name}` is missing")
        is_static = isinstance(method, staticmethod)
        function = method.__func__ if isinstance(method, (staticmethod, classmethod)) else method
        self.name = name
        self.signature = Signature(function, is_method=not is_static)
        self.signature.only("aggregate", "row", "column", "context")
        self.returns = self.signature.returned
        if self.returns.kind != "row" or self.returns.is_optional or self.returns.row.make is None:
            raise self.signature.wrong("it returns a row")

    def takes(self, count: int) -> list[Parameter]:
        """Returns the parameters that are rows. Raises TypeError unless there are ``count``."""
        rows = self.signature.of("row")
        if len(rows) != count or self.signature.of("column"):
            raise self.signature.wrong(f"it takes {count} rows or accumulators")
        return rows


class Reduced:
    """Runs a class with the methods of `aggregate`."""

    def __init__(self, cls: Any) -> None:
        if not isinstance(cls, type):
            raise TypeError(f"{cls!r}: @aggregate belongs on a class")
        init = cls.__dict__.get("__init__")
        # Without `__init__`, the class takes no config.
        self._config = Configured(Signature(init, is_method=True) if init else Signature(lambda: None))
        self._has_config = bool(init)
        self._class = cls
        lift, combine, lower = (Step(cls, name) for name in ("lift", "combine", "lower"))
        inverse = Step(cls, "inverse") if hasattr(cls, "inverse") else None
        self._row, whole = lift.signature.values("row")
        self._accumulator = lift.returns.row
        self._output = lower.returns.row
        self._key: RowType | None = None
        accumulators = [self._accumulator]
        keys = [own for own in lower.signature.of("row") if own.row.make is not self._accumulator.make]
        if keys or lower.signature.of("column"):
            self._key = keys[0].row if keys else RowType(None, _columns(lower))
            accumulators = [self._key, self._accumulator]
        self._lift = _loop(lift, [self._row], whole)
        self._combine = _pairs(combine, self._accumulator)
        self._lower = _loop(lower, accumulators, keys[0] if keys else None)
        self._inverse = _pairs(inverse, self._accumulator) if inverse else None

    def describe(self, stage: Stage) -> Description:
        """Describes the input, the accumulator and the output. Raises ConfigError."""
        self._instance(stage)
        return Description(
            input=self._row.schema,
            output=self._output.schema,
            state=self._accumulator.schema,
            key=self._key.schema if self._key else None,
            inverse=self._inverse is not None,
            config_schema=self._config.schema,
        )

    def lift(self, stage: Stage, context: Context, rows: Any) -> Any:
        """Returns an accumulator for each row."""
        missing = of_columns.nulls(rows.columns, rows.rows, self._row.columns)
        if missing:
            row, reason = min(missing.items())
            raise InputError(f"row {row}: {reason}")
        columns = of_columns.read_all(rows.columns, rows.rows, self._row.columns)
        method = self._instance(stage).lift
        return self._call(self._lift, method, [self._row], rows.rows, columns, context, self._accumulator)

    def combine(self, stage: Stage, context: Context, left: Any, right: Any) -> Any:
        """Combines pairs of accumulators."""
        return self._pair(self._combine, self._instance(stage).combine, context, left, right)

    def inverse(self, stage: Stage, context: Context, whole: Any, part: Any) -> Any:
        """Removes the accumulators `part` from the accumulators `whole`, in pairs."""
        if self._inverse is None:
            raise InternalError("this aggregate has no inverse")
        return self._pair(self._inverse, self._instance(stage).inverse, context, whole, part)

    def lower(self, stage: Stage, context: Context, keys: Any, accumulators: Any) -> Any:
        """Returns the output row of each accumulator."""
        columns = of_columns.read_all(accumulators.columns, accumulators.rows, self._accumulator.columns)
        rows = [self._accumulator]
        if self._key:
            columns = of_columns.read_all(keys.columns, accumulators.rows, self._key.columns) + columns
            rows = [self._key, self._accumulator]
        method = self._instance(stage).lower
        return self._call(self._lower, method, rows, accumulators.rows, columns, context, self._output)

    def _instance(self, stage: Stage) -> Any:
        config = self._config.value(stage)
        return self._class(config) if self._has_config else self._class()

    def _pair(self, loop: Any, method: Any, context: Context, left: Any, right: Any) -> Any:
        if left.rows != right.rows:
            raise InternalError(f"row counts differ: {left.rows} and {right.rows}")
        own = self._accumulator
        columns = of_columns.read_all(left.columns, left.rows, own.columns)
        columns += of_columns.read_all(right.columns, right.rows, own.columns)
        return self._call(loop, method, [own, own], left.rows, columns, context, own)

    def _call(
        self, loop: Any, method: Any, rows: list[RowType], count: int, columns: Any, context: Context, output: RowType
    ) -> Any:
        return write_rows(output, loop(method, [row.make for row in rows], count, columns, context))


def _columns(step: Step) -> list[Any]:
    return [(own.name, own.row.fields[0]) for own in step.signature.of("column")]


def _pairs(step: Step, accumulator: RowType) -> Callable[..., Any]:
    step.takes(2)
    if step.returns.row.make is not accumulator.make:
        raise step.signature.wrong(f"it returns a {accumulator.name}, as `lift` does")
    return _loop(step, [accumulator, accumulator], None)


def _loop(step: Step, rows: list[RowType], whole: Parameter | None) -> Callable[..., Any]:
    """Compiles the loop of a step that takes these rows. `whole` is the parameter for the first row, if one takes it as a row."""
    lines, output, signature = Lines(), Output(step.returns.row), step.signature
    lines.add(0, "def run(_function, _makes, _count, _columns, _context):")
    lines.add(1, f"{', '.join(f'_v{i}make' for i in range(len(rows)))}, = _makes")
    output.begin(lines, 1)
    names = [name for i, row in enumerate(rows) for name in column_variables(f"v{i}", row)]
    indexes = iter(range(len(rows)) if rows[0].make else range(1, len(rows)))
    lines.add(1, "try:", f"    for {', '.join(['_i', *names])}, in zip(range(_count), *_columns):")
    values = []
    for own in signature.parameters:
        if own.kind == "context":
            values.append("_context")
        elif own.kind == "column":
            values.append(argument_value("v0", rows[0], None, own))
        else:
            index = next(indexes)
            values.append(argument_value(f"v{index}", rows[index], own, own))
    lines.add(3, f"_r = _function({', '.join(values)})")
    if step.returns.refuses:
        lines.add(3, "if type(_r) is Rejection:", "    raise _r")
    lines.check_returned(3, "_r")
    output.push(lines, 3, "_r")
    lines.add(1, "except Rejection as _refused:", "    raise InternalError(f'row {_i}: {_refused}') from None")
    lines.add(1, f"return {output.lists}")
    return lines.function(signature.name, output.row, missing_return_error(signature))
