"""Plugins that are called on tables."""

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
    """A table of any library that supports Arrow, for example pyarrow, pandas, Polars or DuckDB."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Returns an Arrow C stream in a capsule."""


class Output(NamedTuple):
    """Result of a call."""

    rows: _native.Rows
    """Rows that the plugin emitted."""
    rejected: _native.Rows
    """Rejected rows: the columns of the input, then ``reason``. With ``on_error="reject"`` they also have the columns
    ``backtrace``, ``stage``, ``plugin``, ``version``, ``digest`` and ``batch``."""


class Updates(NamedTuple):
    """Result of a call that updates the states of keys."""

    rows: _native.Rows
    """Rows that the plugin emitted."""
    rejected: _native.Rows
    """Rejected rows; see :class:`Output`."""
    states: _native.Rows
    """States of all keys, for the next call: the key columns, then the columns of the state."""
    timers: _native.Rows
    """Timers that are set, for the next call: the key columns, then ``at``."""


class Plugin:
    """A loaded and checked plugin. Any thread can call it.

    ``plugin`` is a directory, a component (``.wasm``) or a package, for example ``"split-words@0.1.0"``. As in jobs, a package is
    pinned by the file ``millstream.lock``: the one that ``lock`` names, by default in the current directory. A package that is
    not pinned is fetched from ``registry`` (a directory or ``oci://…``), and then pinned if ``lock`` is given. Signatures and
    policies apply as in jobs.

    ``config``, ``limits`` and ``grant`` are the same as in a stage of a job: ``limits={"time": "2s", "memory": "64 MiB"}``.
    If a call fails, it raises a :class:`PluginError`. With ``on_error="reject"``, the rows that make it fail are rejected and the
    others continue. ``instance="worker"`` uses one instance for all calls, which is faster than a new one per call.

    Calls release the GIL, so threads run in parallel. A pickled plugin contains only its name and digest. The process that
    unpickles it must find the same component under that name. After a fork, the plugin is loaded again.
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
        """World of the plugin, which is the method to call: ``transform`` (`process`), ``update``, ``aggregate`` or ``cogroup``."""
        return self._native.world

    @property
    def digest(self) -> str:
        """Digest of the component: ``sha256:…``."""
        return self._native.digest

    @property
    def file(self) -> str:
        """Path of the component."""
        return str(self._native.file)

    @property
    def signers(self) -> list[str] | None:
        """Trusted signers of the package; ``None`` if the plugin is not a package."""
        return self._native.signers

    @property
    def costs(self) -> dict[str, int]:
        """Costs of the plugin's calls in this process: ``calls``, ``instances``, ``guest_ns`` (time in the plugin), ``host_ns`` (time
        to convert and check rows), ``rows_in``, ``rows_out``, ``bytes_in``, ``bytes_out`` and ``memory_bytes_max``."""
        return self._native.costs

    def process(
        self, table: ArrowStream, *, batch: int | None = None, time: datetime.datetime | None = None
    ) -> Output:
        """Calls a plugin of world ``transform`` with the rows of a table.

        Columns are converted to the types that the plugin reads if this changes no value. This works for integers of all sizes,
        strings, dictionaries and times of all units. For other columns, it raises a :class:`UsageError` that names the column.

        ``batch`` and ``time`` are the batch number and the time that the plugin sees, by default the number of the call and now.
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
        """Calls a plugin of world ``aggregate``. Returns one row per key, or one row for the whole table without ``key``.

        ``key`` names the key columns. For ``batch`` and ``time`` see :meth:`process`.
        """
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

        This object keeps no state: pass ``states`` and ``timers`` of one call to the next. The plugin is called for each key with
        rows, or with a timer that is due at ``time``. With ``on="all"`` it is called for every key that has a state. For ``batch``
        and ``time`` see :meth:`process`. Raises :class:`UsageError` if ``key`` is empty.
        """
        key = _key(key)
        if not key:
            raise _native.UsageError('a plugin of world update keeps a state per key; write the key columns, for example key="user"')
        results = self._native.update(table, key, (states, timers, on == "all"), (batch, _microseconds(time)))
        return Updates(*results)

    def cogroup(
        self,
        tables: Mapping[str, ArrowStream] | Sequence[ArrowStream],
        *,
        key: str | Sequence[str],
        batch: int | None = None,
        time: datetime.datetime | None = None,
    ) -> Output:
        """Calls a plugin of world ``cogroup`` for each key with its rows in several tables.

        ``tables`` are in the order of the plugin's inputs. Rejected rows are returned as JSON, with the name of their table in the
        column ``input``. For ``batch`` and ``time`` see :meth:`process`.
        """
        if isinstance(tables, Mapping):
            names, tables = [str(name) for name in tables], list(tables.values())
        else:
            names = [str(index) for index in range(len(tables))]
        results = self._native.cogroup(list(tables), names, _key(key), (batch, _microseconds(time)))
        return Output(*results)

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
