"""Plugins on Spark tables, in the Python workers of the executors. Needs `pyspark` and `pyarrow`, and this package on each machine.

Spark distributes the component to the executors as a file of the job; each machine compiles it once. Limits apply as elsewhere:
a plugin that loops or uses too much memory fails its task, with the plugin's name and traceback, but not the executor. Spark
decides which tasks to retry; see `docs/how-to/use-plugins-in-spark-flink-clickhouse.md`.
"""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from . import _native
from .plugin import Plugin, _unpickled

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_opened: dict[tuple[int, str], Plugin] = {}


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="millstream-spark-")


def process(df: DataFrame, plugin: Plugin) -> DataFrame:
    """Returns the rows that a plugin of world ``transform`` emits for the rows of ``df``."""
    return _map(df, plugin, lambda used, table: used.process(table).rows)


def rejected(df: DataFrame, plugin: Plugin) -> DataFrame:
    """Returns the rows of ``df`` that a plugin of world ``transform`` rejects, with the reasons. This calls the plugin again."""
    return _map(df, plugin, lambda used, table: used.process(table).rejected)


def aggregate(
    df: DataFrame, plugin: Plugin, key: str | Sequence[str] = (), *, sort_within: str | Sequence[str] = ()
) -> DataFrame:
    """Returns one row per key of a plugin of world ``aggregate``, or one row in total without ``key``.

    ``df`` is repartitioned by ``key``. Each partition is processed at once, in memory. After a shuffle, rows arrive in any order.
    If the plugin depends on the order, ``sort_within`` names the columns to sort each partition by.
    """
    key = [key] if isinstance(key, str) else list(key)
    order = [sort_within] if isinstance(sort_within, str) else list(sort_within)
    together = df.repartition(*key) if key else df.repartition(1)
    if order:
        together = together.sortWithinPartitions(*order)
    shipped, schema = _ship(df, plugin), _schema_of(df)
    output = _output(plugin.aggregate(_empty(schema), key=key).rows)

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        table = pa.Table.from_batches(batches, schema=schema)
        if table.num_rows or not key:
            yield from _batches(_open(shipped).aggregate(table, key=key).rows)

    return together.mapInArrow(work, output)


def cogroup(tables: Mapping[str, DataFrame], plugin: Plugin, key: str | Sequence[str]) -> DataFrame:
    """Returns the rows that a plugin of world ``cogroup`` emits for the rows of each key in two tables.

    ``tables`` are in the order of the plugin's inputs. Raises ``UsageError`` unless there are two.
    """
    key = [key] if isinstance(key, str) else list(key)
    if len(tables) != 2:
        raise _native.UsageError(f"Spark can group two tables, but got {len(tables)}")
    (names, frames) = (list(tables), list(tables.values()))
    schemas = [_schema_of(frame) for frame in frames]
    shipped = _ship(frames[0], plugin)
    empty = {name: _empty(schema) for name, schema in zip(names, schemas, strict=True)}
    output = _output(plugin.cogroup(empty, key=key).rows)

    def work(left: pa.Table, right: pa.Table) -> pa.Table:
        result = _open(shipped).cogroup(dict(zip(names, (left, right), strict=True)), key=key)
        return pa.table(result.rows)

    both = frames[0].groupBy(*key).cogroup(frames[1].groupBy(*key))
    return both.applyInArrow(work, output)


def update(
    df: DataFrame,
    plugin: Plugin,
    key: str | Sequence[str],
    *,
    time: Literal["processing", "event"] = "processing",
) -> DataFrame:
    """Returns the rows that a plugin of world ``update`` emits for a stream. Spark keeps the state and the timers of each key.

    The plugin's time is the batch's clock. With ``time="event"`` it is the watermark, which ``df`` must have
    (``withWatermark``). Timers use the same time. Needs PySpark 4.1, the package ``protobuf``, and the RocksDB state store.
    Rejected rows are dropped.
    """
    from ._spark_update import Updates

    key = [key] if isinstance(key, str) else list(key)
    shipped, schema = _ship(df, plugin), _schema_of(df)
    output = _output(plugin.update(_empty(schema), key=key).rows)
    processor = Updates(_open, shipped, schema, key, time == "event")
    mode = {"event": "EventTime", "processing": "ProcessingTime"}[time]
    return df.groupBy(*key).transformWithState(processor, output, "Append", mode)


def _map(df: DataFrame, plugin: Plugin, call: Callable[[Plugin, pa.Table], _native.Rows]) -> DataFrame:
    shipped, schema = _ship(df, plugin), _schema_of(df)
    output = _output(call(plugin, _empty(schema)))

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        used = _open(shipped)
        for batch in batches:
            yield from _batches(call(used, batch))

    return df.mapInArrow(work, output)


def _batches(rows: _native.Rows) -> list[pa.RecordBatch]:
    return pa.table(rows).to_batches()


def _empty(schema: pa.Schema) -> pa.Table:
    return schema.empty_table()


def _schema_of(df: DataFrame) -> pa.Schema:
    from pyspark.sql.pandas.types import to_arrow_schema

    # The time zone of timestamp columns is the session's.
    return to_arrow_schema(df.schema, timezone=df.sparkSession.conf.get("spark.sql.session.timeZone"))


def _output(rows: _native.Rows) -> Any:
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(pa.schema(rows))


def _ship(df: DataFrame, plugin: Plugin) -> dict[str, Any]:
    """Makes the component available to all executors. Returns the settings to open it with there."""
    name = f"millstream-{plugin.digest.removeprefix('sha256:')}.wasm"
    settings = {**plugin._settings, "digest": plugin.digest}
    context = getattr(df.sparkSession, "sparkContext", None)
    if context is None:
        return settings
    if name not in {os.path.basename(file) for file in context.listFiles}:
        # Executors fetch the file when they first need it, so it must exist as long as this process.
        file = os.path.join(_folder().name, name)
        shutil.copyfile(plugin.file, file)
        context.addFile(file)
    return {**settings, "plugin": name, "shipped": True}


def _open(shipped: dict[str, Any]) -> Plugin:
    """Returns the plugin of this Python worker. Opens it on the first call."""
    known = (os.getpid(), repr(sorted(shipped.items())))
    if known not in _opened:
        settings = dict(shipped)
        if settings.pop("shipped", False):
            from pyspark import SparkFiles

            settings |= {"plugin": SparkFiles.get(settings["plugin"]), "dir": os.getcwd(), "registry": None}
        _opened[known] = _unpickled(settings)
    return _opened[known]
