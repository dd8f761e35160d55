"""World ``transform``: rows in, rows out."""

from __future__ import annotations

from typing import Any

from . import columns as of_columns
from .batch import Batch
from .code import Lines, Output, argument_value, arguments, call, column_variables, missing_return_error
from .errors import InternalError
from .place import missing_return
from .plugin import Configured, decorator, write_rows
from .schema import Description
from .signature import Signature
from .stage import Context, Stage


def transform(subject: Any = None, /, *, config_schema: str | None = None) -> Any:
    """Turns a function into a plugin of world ``transform``: rows in, rows out.

    The function takes a row (a dataclass or a named tuple), or columns as parameters. In any order it may also take ``config`` (a
    dataclass, or dict), `Context` and ``Out[Row]``. It returns a row, ``Row | None``, or a list or an iterator of rows. Or it
    returns nothing and appends rows to `Out`. Raising `Rejection` rejects the row.

    A function that takes ``Batch[Row]`` is called once for all rows, and returns a ``Batch`` or a `Transformed`. A class with the
    methods ``describe(stage)`` and ``process(stage, context, rows)`` accepts any columns.
    """
    return decorator("transform", _make, subject, config_schema)


class Transformed:
    """Result of a call: output rows, and the rejected rows of the input, each with a reason."""

    def __init__(self, rows: Batch[Any], rejected: list[tuple[int, str]] | None = None) -> None:
        self.rows = rows
        self.rejected = rejected or []


def _make(subject: Any) -> Any:
    if isinstance(subject, type):
        return AnyColumns(subject)
    signature = Signature(subject)
    return WholeBatch(subject, signature) if signature.one("batch") else ByRow(subject, signature)


class ByRow:
    """Runs a function that is called for each row."""

    def __init__(self, function: Any, signature: Signature) -> None:
        signature.only("transform", "row", "column", "out", "config", "context")
        self._function = function
        self._config = Configured(signature)
        self._row, whole = signature.values("row")
        if not signature.of("row", "column"):
            raise signature.wrong("it takes no row")
        out, returned = signature.one("out"), signature.returned
        if returned.kind == "batch" or (out is None) == (returned.kind == "nothing"):
            raise signature.wrong("rows go either to `Out` or are returned")
        self._out = out.row if out else returned.row
        self._run = _loop(signature, self._row, whole, Output(self._out))

    def describe(self, stage: Stage) -> Description:
        """Describes input and output. Raises ConfigError."""
        self._config.value(stage)
        return Description(input=self._row.schema, output=self._out.schema, config_schema=self._config.schema)

    def process(self, stage: Stage, context: Context, rows: Any) -> Transformed:
        """Calls the function for each row."""
        config = self._config.value(stage)
        columns = of_columns.read_all(rows.columns, rows.rows, self._row.columns)
        missing = of_columns.nulls(rows.columns, rows.rows, self._row.columns)
        indexes: Any = range(rows.rows)
        if missing:
            indexes = [row for row in indexes if row not in missing]
            columns = [[column[row] for row in indexes] for column in columns]
        lists, rejected = self._run(self._function, self._row.make, indexes, columns, config, context)
        return Transformed(write_rows(self._out, lists, self._function), sorted([*missing.items(), *rejected]))


def _loop(signature: Signature, row: Any, whole: Any, output: Output) -> Any:
    lines, returned = Lines(), signature.returned
    lines.add(0, "def run(_function, _vmake, _rows, _columns, _config, _context):")
    lines.add(1, "_rejected = []")
    output.begin(lines, 1)
    if returned.kind == "nothing":
        output.pushes(lines, 1, keyed=False)
    lines.add(1, f"for {', '.join(['_i', *column_variables('v', row)])}, in zip(_rows, *_columns):")
    may_have_pushed = returned.kind in ("nothing", "many")
    if may_have_pushed:
        lines.add(2, f"_before = len({output.names[0]})")
    lines.add(2, "try:")
    values = arguments(signature, lambda own: argument_value("v", row, whole, own))
    call(lines, 3, returned, f"_function({values})", output)
    lines.add(2, "except Rejection as _refused:", "    _rejected.append((_i, str(_refused)))")
    if may_have_pushed:
        output.truncate(lines, 3, "_before")
    lines.add(1, f"return {output.lists}, _rejected")
    return lines.function(signature.name, output.row, missing_return_error(signature))


class WholeBatch:
    """Runs a function that is called once with all rows."""

    def __init__(self, function: Any, signature: Signature) -> None:
        signature.only("transform", "batch", "config", "context")
        self._function = function
        self._signature = signature
        self._config = Configured(signature)
        if signature.returned.kind != "batch":
            raise signature.wrong("a function that takes a `Batch[…]` returns one")
        self._out = signature.returned.row
        self._row = signature.of("batch")[0].row

    def describe(self, stage: Stage) -> Description:
        """Describes input and output. Raises ConfigError."""
        self._config.value(stage)
        return Description(input=self._row.schema, output=self._out.schema, config_schema=self._config.schema)

    def process(self, stage: Stage, context: Context, rows: Any) -> Transformed:
        """Calls the function. Rejects rows with a null in a column that is not nullable."""
        missing = of_columns.nulls(rows.columns, rows.rows, self._row.columns)
        batch: Batch[Any] = Batch(rows.rows, rows.columns, self._row.schema)
        if missing:
            batch = batch.take([row for row in range(rows.rows) if row not in missing])
        given = {"batch": batch, "config": self._config.value(stage), "context": context}
        made = self._function(*[given[own.kind] for own in self._signature.parameters])
        if made is None:
            raise InternalError(missing_return(self._function, f"a Batch of {self._out.name}"))
        if not isinstance(made, Batch) or made.schema.fields != self._out.fields:
            raise InternalError(f"{self._signature.name}() returned {made!r:.100}, not a batch of {self._out.name}")
        return Transformed(made, sorted(missing.items()))


class AnyColumns:
    """Runs a class that accepts any columns."""

    def __init__(self, cls: Any) -> None:
        for method in ("describe", "process"):
            if not callable(getattr(cls, method, None)):
                raise TypeError(f"{cls.__name__}: a class with @transform has the method `{method}`")
        self._plugin = cls()

    def describe(self, stage: Stage) -> Description:
        """Returns the description of the class."""
        said = self._plugin.describe(stage)
        if said is None:
            raise InternalError(missing_return(self._plugin.describe, "a Description"))
        return said

    def process(self, stage: Stage, context: Context, rows: Any) -> Transformed:
        """Processes the rows with the class."""
        made = self._plugin.process(stage, context, Batch(rows.rows, rows.columns, stage.input))
        if made is None:
            raise InternalError(missing_return(self._plugin.process, "a Batch or a Transformed"))
        return made if isinstance(made, Transformed) else Transformed(made)
