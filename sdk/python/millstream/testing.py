"""Runs plugins in plain Python, without a host. Rows are dicts.

Timestamps are microseconds, binaries are bytes. `log` writes to standard error, `counter` counts in ``testing.counters()``, and
`files` reads from ``testdata/``.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from types import SimpleNamespace
from typing import Any

from . import columns as of_columns
from . import host
from .batch import Batch
from .errors import InternalError
from .plugin import plugin_of
from .schema import Description, Schema
from .sink import Identity, Owner, SinkRunner
from .source import Polled, SourceRunner
from .stage import Context, Stage

Row = dict[str, Any]


class Run:
    """Result of a run."""

    def __init__(self, rows: list[Row], rejected: list[tuple[int, str]]) -> None:
        #: The output rows.
        self.rows = rows
        #: The rejected rows: index in the input rows, and reason. For worlds ``update`` and ``cogroup``, the input rows are sorted by
        #: key. For ``cogroup``, the rows of the second input are counted after those of the first.
        self.rejected = rejected

    def __repr__(self) -> str:
        return f"Run(rows={self.rows!r}, rejected={self.rejected!r})"


class Test:
    """A plugin under test and the settings of its stage. Created by `transform`, `update`, `aggregate`, `cogroup`, `source` and `sink`.

    ``config`` is the stage's config. ``key`` are the stage's key columns, for example ``"user text, day int64"``. ``input`` are the
    columns of the stage's input; only plugins that accept any columns need it. In world ``cogroup`` it is a list.
    """

    def __init__(
        self, world: str, subject: Any, config: Any = None, key: str = "", input: str | Sequence[str] = ""
    ) -> None:
        self._plugin = plugin_of(subject, world)
        self._config = json.dumps({} if config is None else config)
        self._key = Schema.parse(key)
        self._inputs = [Schema.parse(own) for own in ([input] if isinstance(input, str) else input)]
        self._batch = 0
        self._watermark: int | None = None

    def describe(self) -> Description:
        """Returns the plugin's description."""
        return self._plugin.finish(self._plugin.runner.describe(Stage(self._config, self._inputs, self._key)))

    def _context(self) -> Context:
        self._batch += 1
        return Context(self._batch, self._batch * 1_000_000, self._watermark)

    def _stage(self, inputs: list[Schema]) -> Stage:
        return Stage(self._config, inputs, self._key)


class TransformTest(Test):
    """A plugin of world ``transform``."""

    def run(self, rows: Sequence[Row]) -> Run:
        """Processes one batch."""
        said = self.describe()
        made = self._plugin.runner.process(self._stage([said.input]), self._context(), batch(said.input, rows))
        return Run(to_rows(said.output, made.rows), made.rejected)


class UpdateTest(Test):
    """A plugin of world ``update``. Keeps states and timers between runs."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._states: list[tuple[Row, Row]] = []
        self._timers: list[tuple[Row, int]] = []

    def run(self, rows: Sequence[Row]) -> Run:
        """Processes one batch of rows with key columns. Keys are called in the order of their first rows, then keys without rows
        whose timers are due. The time of the first run is second 1, of the next one second 2, and so on."""
        return self._call(_by_key(self._key, rows), False)

    def time_out(self, key: Row) -> Run:
        """Makes the last call for a key that was idle for the stage's timeout."""
        return self._call([(_only(self._key, key), [])], True)

    def watermark(self, watermark: int) -> None:
        """Sets the watermark of the following runs, as in a stage with event time. Timers then use it."""
        self._watermark = watermark

    @property
    def states(self) -> list[Row]:
        """Returns the states: rows with the columns of key and state."""
        return [key | state for key, state in self._states]

    def _due(self, now: int, groups: list[tuple[Row, list[Row]]]) -> host.Due:
        """Takes the due timers of each group. Adds groups for keys without rows."""
        due = [(key, at) for key, at in self._timers if at <= now]
        self._timers = [(key, at) for key, at in self._timers if at > now]
        for key, _ in due:
            if all(own != key for own, _ in groups):
                groups.append((key, []))
        times = [sorted(at for key, at in due if key == own) for own, _ in groups]
        flat = array("q", [at for own in times for at in own])
        return host.Due(_ends(map(len, times)), flat.tobytes())

    def _call(self, groups: list[tuple[Row, list[Row]]], timed_out: bool) -> Run:
        said, context = self.describe(), self._context()
        due = self._due(context.time if self._watermark is None else self._watermark, groups)
        old = [next((state for own, state in self._states if own == key), None) for key, _ in groups]
        wire = SimpleNamespace(
            keys=batch(self._key, [key for key, _ in groups]),
            rows=batch(said.input, [row for _, rows in groups for row in rows]),
            ends=_ends(len(rows) for _, rows in groups),
            states=batch(said.state, [state or {} for state in old]),
            known=of_columns.bitmap([state is not None for state in old]),
            timed_out=of_columns.bitmap([timed_out] * len(groups)),
        )
        host.current.due_times, host.current.timer_changes = due, []
        made = self._plugin.runner.update(self._stage([said.input]), context, wire)
        self._keep(groups, to_rows(said.state, made.states), of_columns.bits(made.kept, len(groups)), timed_out)
        for group, at, is_set in host.current.timer_changes:
            self._timers = [own for own in self._timers if own != (groups[group][0], at)]
            self._timers += [(groups[group][0], at)] if is_set else []
        return Run(to_rows(said.output, made.output), made.rejected)

    def _keep(self, groups: list[tuple[Row, list[Row]]], states: list[Row], kept: list[bool], timed_out: bool) -> None:
        for (key, _), state, is_kept in zip(groups, states, kept):
            index = next((i for i, (own, _) in enumerate(self._states) if own == key), None)
            if not is_kept or timed_out:
                self._states = [own for own in self._states if own[0] != key]
            elif index is None:
                self._states.append((key, state))
            else:
                self._states[index] = (key, state)


class AggregateTest(Test):
    """A plugin of world ``aggregate``."""

    def run(self, rows: Sequence[Row]) -> Run:
        """Lifts all rows, combines those of each key from first to last, and lowers. If the plugin has an inverse, the run also
        removes the first row of each key and adds it again with ``combine``."""
        said, context, runner = self.describe(), self._context(), self._plugin.runner
        stage, returned = self._stage([said.input]), []
        for key, own in _by_key(self._key, rows):
            lifted = runner.lift(stage, context, batch(said.input, own))
            parts = [batch(said.state, [part]) for part in to_rows(said.state, lifted)]
            whole = parts[0]
            for part in parts[1:]:
                whole = runner.combine(stage, context, whole, part)
            if said.inverse and len(parts) > 1:
                rest = runner.inverse(stage, context, whole, parts[0])
                whole = runner.combine(stage, context, parts[0], rest)
            lowered = runner.lower(stage, context, batch(self._key, [key]), whole)
            returned.append(key | to_rows(said.output, lowered)[0])
        return Run(returned, [])


class CogroupTest(Test):
    """A plugin of world ``cogroup``."""

    def run(self, inputs: Sequence[Sequence[Row]]) -> Run:
        """Processes one batch: the rows of each input, with key columns. Keys are called in the order of their first rows."""
        said = self.describe()
        grouped = [_by_key(self._key, rows) for rows in inputs]
        keys: list[Row] = []
        for key, _ in (group for own in grouped for group in own):
            if key not in keys:
                keys.append(key)
        wires, before, total = [], [], 0
        for schema, groups in zip(said.inputs, grouped):
            rows = [next((rows for own, rows in groups if own == key), []) for key in keys]
            wires.append(
                SimpleNamespace(rows=batch(schema, [row for own in rows for row in own]), ends=_ends(map(len, rows)))
            )
            before.append(total)
            total += sum(map(len, rows))
        wire = SimpleNamespace(keys=batch(self._key, keys), inputs=wires)
        made = self._plugin.runner.cogroup(self._stage(said.inputs), self._context(), wire)
        rejected = [(first + row, reason) for first, own in zip(before, made.rejected) for row, reason in own]
        return Run(to_rows(said.output, made.rows), rejected)


class Poll:
    """Result of a poll."""

    def __init__(self, rows: list[Row], refused: list[tuple[bytes, str]], polled: Polled) -> None:
        #: The output rows.
        self.rows = rows
        #: The rejected data, each with the reason.
        self.refused = refused
        #: Position to resume at; None if it has not changed.
        self.position = polled.position
        #: Time in milliseconds after which the host polls again; None: never.
        self.pause_ms = polled.pause_ms

    def __repr__(self) -> str:
        return f"Poll(rows={self.rows!r}, refused={self.refused!r}, position={self.position!r}, pause_ms={self.pause_ms!r})"


class Partition:
    """A partition that a source under test reads."""

    def __init__(self, runner: SourceRunner, reader: Any) -> None:
        self._runner = runner
        #: The instance that reads it.
        self.reader = reader

    def poll(self, rows_max: int = 16384, wait_ms: int = 500) -> Poll:
        """Polls for the next rows. As in a host, more than ``rows_max`` rows raise InternalError."""
        rows, polled = self._runner.poll(self.reader, rows_max, wait_ms)
        if len(rows) > rows_max:
            raise InternalError(f"{len(rows)} rows, including rejected ones, but at most {rows_max} were requested")
        return Poll(to_rows(self._runner.row.schema, rows.finish()), rows.refused, polled)

    def durable(self, position: bytes) -> None:
        """Notifies the source that the rows up to a position are durable."""
        self._runner.notify(self.reader, "durable", position)

    def published(self, position: bytes) -> None:
        """Notifies the source that a checkpoint with a position is published."""
        self._runner.notify(self.reader, "published", position)


class SourceTest(Test):
    """A plugin of world ``source``."""

    def describe(self) -> Description:
        """Returns the plugin's description."""
        return self._plugin.finish(self._plugin.runner.describe(self._config))

    def partitions(self) -> list[str]:
        """Returns the partitions."""
        return self._plugin.runner.partitions(self._config)

    def open(self, partition: str = "", position: bytes | None = None) -> Partition:
        """Opens a partition, at a position of an earlier poll or, with None, at its start."""
        self.describe()
        return Partition(self._plugin.runner, self._plugin.runner.open(self._config, partition, position))


class Writing:
    """The open sink of a test."""

    def __init__(self, runner: SinkRunner, sink: Any, input: Schema, last: int | None) -> None:
        self._runner = runner
        self._input = input
        #: The instance that writes.
        self.sink = sink
        #: The last stored batch when it was opened, or None.
        self.last = last

    def batch(self, batch: int, rows: Sequence[Row]) -> list[tuple[int, str]]:
        """Writes a batch and commits it. Returns the rejected rows with reasons."""
        refused = self.begun(batch, rows)
        self._runner.commit(self.sink, batch)
        return refused

    def begun(self, number: int, rows: Sequence[Row]) -> list[tuple[int, str]]:
        """Writes a batch without committing it, as before a failure. Returns the rejected rows with reasons."""
        self._runner.begin(self.sink, number, number * 1_000_000)
        return self._runner.write(self.sink, self._input, batch(self._input, rows))


class SinkTest(Test):
    """A plugin of world ``sink``: sink ``out`` of a job ``test``."""

    @property
    def _input(self) -> Schema:
        return self._inputs[0] if self._inputs else Schema()

    def describe(self) -> Description:
        """Returns the plugin's description."""
        return self._plugin.finish(self._plugin.runner.describe(self._config, self._input)[0])

    def promise(self) -> str:
        """Returns the plugin's guarantee."""
        return self._plugin.runner.describe(self._config, self._input)[1]

    def committed(self, job_id: str = "job") -> int | None:
        """Returns the last stored batch of the job with this ID."""
        return self._plugin.runner.committed(self._config, Identity("test", job_id, "out"))

    def open(self, job_id: str = "job", generation: int = 1) -> Writing:
        """Opens the sink for the job with this ID and this start number."""
        input, owner = self.describe().input, Owner(Identity("test", job_id, "out"), generation)
        sink, last = self._plugin.runner.open(self._config, input, owner)
        return Writing(self._plugin.runner, sink, input, last)


def transform(plugin: Callable[..., Any], **stage: Any) -> TransformTest:
    """Tests a function or class with ``@transform``; see `Test` for the settings."""
    return TransformTest("transform", plugin, **stage)


def update(plugin: Callable[..., Any], **stage: Any) -> UpdateTest:
    """Tests a function with ``@update``; see `Test` for the settings."""
    return UpdateTest("update", plugin, **stage)


def aggregate(plugin: type, **stage: Any) -> AggregateTest:
    """Tests a class with ``@aggregate``; see `Test` for the settings."""
    return AggregateTest("aggregate", plugin, **stage)


def cogroup(plugin: Callable[..., Any], **stage: Any) -> CogroupTest:
    """Tests a function with ``@cogroup``; see `Test` for the settings."""
    return CogroupTest("cogroup", plugin, **stage)


def source(plugin: type, config: Any = None) -> SourceTest:
    """Tests a class with ``@source``."""
    return SourceTest("source", plugin, config)


def sink(plugin: type, config: Any = None, input: str = "") -> SinkTest:
    """Tests a class with ``@sink``. ``input`` are the columns of its input; only sinks that accept any columns need it."""
    return SinkTest("sink", plugin, config, input=input)


def counters() -> dict[str, int]:
    """Returns the counters of this process."""
    return host.current.counters


def batch(schema: Schema, rows: Sequence[Row]) -> Batch[Any]:
    """Converts rows to a batch. A column that a row lacks is null."""
    made = [of_columns.write([row.get(own.name) for row in rows], own.name, own.type, True) for own in schema.fields]
    return Batch(len(rows), made, schema)


def to_rows(schema: Schema, found: Any) -> list[Row]:
    """Converts a batch to rows. Raises InternalError if the batch has other columns."""
    if len(schema.fields) != len(found.columns):
        raise InternalError(f"{len(schema.fields)} columns were described, {len(found.columns)} returned")
    rows: list[Row] = [{} for _ in range(found.rows)]
    for field, column in zip(schema.fields, found.columns):
        try:
            values = of_columns.read(column, found.rows, field.type, True)
        except ValueError as error:
            raise InternalError(f"column `{field.name}`: {error}") from None
        for row, value in zip(rows, values):
            row[field.name] = value
    return rows


def _only(schema: Schema, row: Row) -> Row:
    return {own.name: row.get(own.name) for own in schema.fields}


def _by_key(key: Schema, rows: Sequence[Row]) -> list[tuple[Row, list[Row]]]:
    """Returns the rows of each key, with keys in the order of their first rows."""
    groups: list[tuple[Row, list[Row]]] = []
    for row in rows:
        own = _only(key, row)
        found = next((rows for other, rows in groups if other == own), None)
        if found is None:
            groups.append((own, [row]))
        else:
            found.append(row)
    return groups


def _ends(counts: Iterable[int]) -> bytes:
    return array("I", accumulate(counts)).tobytes()
