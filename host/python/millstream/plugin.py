"""Plugins on tables."""

from __future__ import annotations

import datetime
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from . import _native
from ._program import program

_native.use_program(os.fspath(program()))


@runtime_checkable
class ArrowStream(Protocol):
    """A table of any library that speaks Arrow: pyarrow, pandas, Polars, DuckDB and others."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Arrow's C stream, in a capsule."""


class Output(NamedTuple):
    """What became of a table."""

    rows: _native.Rows
    """Rows that the plugin put out."""
    rejected: _native.Rows
    """Rows that were refused, as they came, and behind them the column ``reason``. With ``on_error="reject"`` there are more
    columns: ``backtrace``, ``stage``, ``plugin``, ``version``, ``digest``, ``batch``."""


class Updates(NamedTuple):
    """What became of a table whose keys have states."""

    rows: _native.Rows
    """Rows that the plugin put out."""
    rejected: _native.Rows
    """Rows that were refused; see :class:`Output`."""
    states: _native.Rows
    """The states of all keys, for the next call: key columns, then those that the plugin keeps."""
    timers: _native.Rows
    """The timers that are set, for the next call: key columns, then ``at``."""


class Plugin:
    """A plugin of Millstream, loaded, checked and ready to be called from any thread.

    ``plugin`` is a folder, a component (``.wasm``) or a package as ``split-words@0.1.0``. A package is found as jobs find it: the
    file ``millstream.lock`` in the current folder, or ``lock``, pins it. One that is not pinned is fetched from ``registry`` (a
    folder or ``oci://…``), and is pinned where ``lock`` is given. Signatures and policies hold as for jobs.

    ``config``, ``limits`` and ``grant`` are what a stage of a job has: ``limits={"time": "2s", "memory": "64 MiB"}``.
    ``on_error="reject"`` refuses the rows that make the plugin fail, and goes on with the others; otherwise a failure is a
    :class:`PluginError`. ``instance="worker"`` keeps an instance from call to call, which is faster.

    Calls leave the interpreter's lock, so threads run side by side. A plugin pickles by what it was named and by its digest: where
    it is unpickled, the same component must be found. After a fork it is loaded anew.
    """

    def __init__(
        self,
        plugin: str | os.PathLike[str],
        *,
        lock: str | os.PathLike[str] | None = None,
        registry: str | None = None,
        config: Mapping[str, Any] | None = None,
        limits: Mapping[str, Any] | None = None,
        grant: Mapping[str, Any] | None = None,
        on_error: Literal["fail", "reject"] = "fail",
        instance: Literal["batch", "worker"] = "batch",
    ) -> None:
        named = os.fspath(plugin)
        is_package = isinstance(plugin, str) and re.fullmatch(r"[a-z0-9][a-z0-9-]*@[^/]+", named) is not None
        keys: dict[str, Any] = {"on_error": on_error, "instance": instance}
        for key, value in (("config", config), ("limits", limits), ("grant", grant)):
            if value is not None:
                keys[key] = dict(value)
        if grant is not None and "http" in grant:
            keys["replayable"] = False
        self._open(
            {
                "name": _name(named),
                "plugin": named if is_package else os.path.abspath(named),
                "dir": os.path.abspath(os.fspath(lock) if lock is not None else "."),
                "pins": lock is not None,
                "registry": registry,
                "digest": None,
                "keys": json.dumps(keys, allow_nan=False),
            }
        )

    def _open(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._native = _native.Plugin(settings)

    @property
    def world(self) -> str:
        """``transform``, ``update``, ``aggregate`` or ``cogroup``: which of the functions below it has."""
        return self._native.world

    @property
    def digest(self) -> str:
        """The digest of its component: ``sha256:…``."""
        return self._native.digest

    @property
    def file(self) -> str:
        """The file of its component."""
        return str(self._native.file)

    @property
    def signers(self) -> list[str] | None:
        """Who has signed it and is trusted; ``None`` where it is no package."""
        return self._native.signers

    @property
    def costs(self) -> dict[str, int]:
        """What its calls have cost in this process: ``calls``, ``instances``, ``guest_ns`` (within the plugin), ``host_ns`` (rows on
        their way into it and out of it, and the checks), ``rows_in``, ``rows_out``, ``bytes_in``, ``bytes_out``,
        ``memory_bytes_max``."""
        return self._native.costs

    def process(
        self, table: ArrowStream, *, batch: int | None = None, time: datetime.datetime | None = None
    ) -> Output:
        """Calls a plugin of world ``transform`` with the rows of a table.

        Columns are read as the plugin wants them: whole numbers and texts of all sizes, dictionaries and times of all units are
        turned into the types of Millstream where no value becomes another one, and refused otherwise. ``batch`` and ``time`` are
        what the plugin is told of the call; else they are its number and now.
        """
        return Output(*self._native.process(table, (batch, _microseconds(time))))

    def aggregate(
        self,
        table: ArrowStream,
        *,
        key: str | Sequence[str] = (),
        batch: int | None = None,
        time: datetime.datetime | None = None,
    ) -> Output:
        """Calls a plugin of world ``aggregate``: a row for each key, or one for the whole table without ``key``."""
        return Output(*self._native.aggregate(table, _key(key), (batch, _microseconds(time))))

    def update(
        self,
        table: ArrowStream,
        *,
        key: str | Sequence[str],
        states: ArrowStream | None = None,
        timers: ArrowStream | None = None,
        on: Literal["rows", "all"] = "rows",
        batch: int | None = None,
        time: datetime.datetime | None = None,
    ) -> Updates:
        """Calls a plugin of world ``update`` with the rows of each key and its state.

        Nothing is kept here: give ``states`` and ``timers`` of one call to the next one. Keys are called that have rows, or timers
        that are due by ``time``; with ``on="all"`` all that have a state.
        """
        key = _key(key)
        if not key:
            raise _native.UsageError('a plugin of world update keeps a state per key; write the key columns, for example key="user"')
        made = self._native.update(table, key, (states, timers, on == "all"), (batch, _microseconds(time)))
        return Updates(*made)

    def cogroup(
        self,
        tables: Mapping[str, ArrowStream] | Sequence[ArrowStream],
        *,
        key: str | Sequence[str],
        batch: int | None = None,
        time: datetime.datetime | None = None,
    ) -> Output:
        """Calls a plugin of world ``cogroup`` with the rows of each key in several tables, in the order of the plugin's inputs.

        Rows that are refused are told as JSON, beside the name of their table (``input``).
        """
        if isinstance(tables, Mapping):
            names, tables = [str(name) for name in tables], list(tables.values())
        else:
            names = [str(place) for place in range(len(tables))]
        made = self._native.cogroup(list(tables), names, _key(key), (batch, _microseconds(time)))
        return Output(*made)

    def __repr__(self) -> str:
        return f"<millstream.Plugin {self._settings['plugin']} of world {self.world}, {self.digest}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, ({**self._settings, "digest": self.digest},)


def _unpickled(settings: dict[str, Any]) -> Plugin:
    plugin = Plugin.__new__(Plugin)
    plugin._open(settings)
    return plugin


def _name(plugin: str) -> str:
    stem = os.path.basename(plugin.rstrip("/")).split("@")[0].removesuffix(".wasm")
    name = re.sub(r"[^A-Za-z0-9_-]", "-", stem)[:40]
    name = name if re.match(r"[A-Za-z]", name) else f"plugin{name}"
    return f"{name}-2" if name in ("table", "nothing", "rejected", "late") else name


def _key(key: str | Sequence[str]) -> list[str]:
    return [key] if isinstance(key, str) else list(key)


def _microseconds(time: datetime.datetime | None) -> int | None:
    if time is None:
        return None
    if time.tzinfo is None:
        time = time.replace(tzinfo=datetime.timezone.utc)
    return (time - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) // datetime.timedelta(microseconds=1)
