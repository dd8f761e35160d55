"""World ``update`` on Spark streams. Spark keeps the state of each key as one Arrow row, serialized to bytes, together with the
times of the key's timers. Each plugin timer is a Spark timer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql.streaming import StatefulProcessor
from pyspark.sql.types import BinaryType, Row, StructField, StructType

if TYPE_CHECKING:
    from .plugin import Plugin

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_KEPT = StructType([StructField("state", BinaryType(), True), StructField("timers", BinaryType(), True)])


class Updates(StatefulProcessor):
    """Calls the plugin with the new rows of a key, or with no rows if a timer of the key is due."""

    def __init__(
        self,
        open_plugin: Callable[[dict[str, Any]], Plugin],
        shipped: dict[str, Any],
        schema: pa.Schema,
        key: list[str],
        in_event_time: bool,
    ) -> None:
        self._open = open_plugin
        self._shipped = shipped
        self._schema = schema
        self._key = key
        self._in_event_time = in_event_time

    def init(self, handle: Any) -> None:
        self._handle = handle
        self._kept = handle.getValueState("millstream", _KEPT)

    def handleInputRows(self, key: Any, rows: Iterator[Row], timerValues: Any) -> Iterator[Row]:
        table = pa.Table.from_pylist([row.asDict(recursive=True) for row in rows], schema=self._schema)
        yield from self._call(table, self._now_ms(timerValues))

    def handleExpiredTimer(self, key: Any, timerValues: Any, expiredTimerInfo: Any) -> Iterator[Row]:
        now_ms = max(self._now_ms(timerValues), expiredTimerInfo.getExpiryTimeInMs())
        yield from self._call(self._schema.empty_table(), now_ms)

    def close(self) -> None:
        pass

    def _now_ms(self, values: Any) -> int:
        # Spark returns 1970-01-01 before the first watermark.
        read_ms = values.getCurrentWatermarkInMs if self._in_event_time else values.getCurrentProcessingTimeInMs
        return max(0, int(read_ms()))

    def _call(self, table: pa.Table, now_ms: int) -> Iterator[Row]:
        state, timers = self._kept.get() if self._kept.exists() else (None, None)
        made = self._open(self._shipped).update(
            table,
            key=self._key,
            states=None if state is None else _read(state),
            timers=None if timers is None else _read(timers),
            time=_EPOCH + timedelta(milliseconds=now_ms),
        )
        states, timers_after = pa.table(made.states), pa.table(made.timers)
        times_before = set() if timers is None else _times_ms(_read(timers))
        self._set_timers(times_before, _times_ms(timers_after), now_ms)
        if states.num_rows or timers_after.num_rows:
            self._kept.update(
                (
                    _bytes(states) if states.num_rows else None,
                    _bytes(timers_after) if timers_after.num_rows else None,
                )
            )
        elif state is not None or timers is not None:
            self._kept.clear()
        for row in pa.table(made.rows).to_pylist():
            yield Row(**row)

    def _set_timers(self, before: set[int], after: set[int], now_ms: int) -> None:
        for at in after - before:
            self._handle.registerTimer(max(at, now_ms + 1))
        for at in before - after:
            # Spark has already removed a timer that just fired. The others were canceled.
            if at > now_ms:
                self._handle.deleteTimer(at)


def _times_ms(timers: pa.Table) -> set[int]:
    """Returns timer times in milliseconds, rounded up from a plugin's microseconds: a timer never fires early."""
    return {-(-at // 1000) for at in timers["at"].cast(pa.int64()).to_pylist()}


def _bytes(table: pa.Table) -> bytes:
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue().to_pybytes()


def _read(table: Any) -> pa.Table:
    return pa.ipc.open_stream(bytes(table)).read_all()
