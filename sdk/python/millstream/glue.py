"""Exports of a component. Only the module that `millstream build` writes imports this: outside of a component there is no
`wit_world`, which componentize-py generates from the plugin's world."""

from __future__ import annotations

import gc
import importlib
import json
import linecache
import os
import random
import sys
from collections.abc import Callable
from functools import cached_property
from types import ModuleType
from typing import Any

from componentize_py_types import Err
from wit_world.imports import log

from . import failure, host, late, trace
from .component_host import ComponentHost
from .errors import ConfigError, InputError, PluginError
from .failure import to_plugin_error
from .migrate import Migrations
from .plugin import MARK, Plugin
from .schema import Description, Field, Schema
from .sink import Identity, Owner
from .stage import Context, Stage
from .written import is_written

try:
    from wit_world.imports import types
except ImportError:
    # In worlds with WASI HTTP, the types have another path.
    from wit_world.imports import millstream_plugin_types as types
try:
    from wit_world.imports import stage
except ImportError:
    # Sources and sinks have no stage.
    stage: Any = None  # type: ignore[no-redef]

_TO_WIRE = {
    "bool": types.DataType_Bool(),
    "int64": types.DataType_Int64(),
    "float64": types.DataType_Float64(),
    "text": types.DataType_Text(),
    "binary": types.DataType_Binary(),
    "timestamp": types.DataType_Timestamp(),
}
_FROM_WIRE = {type(wire): name for name, wire in _TO_WIRE.items()}


def _schema(wire: Any) -> Schema:
    def kind(of: Any) -> str:
        named = _FROM_WIRE.get(type(of))
        return named or (of.value if is_written(of.value) else f"arrow {of.value}")

    return Schema([Field(own.name, kind(own.type), own.nullable) for own in wire.fields])


def _to_wire(schema: Schema) -> Any:
    def kind(of: str) -> Any:
        return _TO_WIRE.get(of) or types.DataType_Arrow(of.removeprefix("arrow "))

    return types.Schema([types.Field(own.name, kind(own.type), own.nullable) for own in schema.fields])


class HostStage(Stage):
    """The stage of a call. Queries the schemas from the host only when the plugin needs them."""

    def __init__(self, config: str) -> None:
        self._config = config

    @cached_property
    def inputs(self) -> list[Schema]:  # type: ignore[override]
        return [_schema(own) for own in stage.inputs()]

    @cached_property
    def key(self) -> Schema:  # type: ignore[override]
        return _schema(stage.key())


def _report(location: str) -> None:
    log.write(log.Level.DEBUG, location)


def _error(error: BaseException) -> Err:
    failure: PluginError = to_plugin_error(error)
    if isinstance(failure, ConfigError):
        return Err(types.Error_Config(str(failure)))
    if isinstance(failure, InputError):
        return Err(types.Error_Input(str(failure)))
    return Err(types.Error_Internal(str(failure)))


def _rejections(rejected: list[tuple[int, str]]) -> list[Any]:
    return [types.Rejection(row, reason) for row, reason in rejected]


class Exports:
    """Exports of a plugin. Each world adds its functions."""

    plugin: Plugin[Any]
    about: dict[str, str]
    world: str
    #: Module of the world's interface.
    module: Any
    #: Whether this instance has handled a call before.
    was_called = False

    def called(self, name: str, context: Any, *arguments: Any) -> Any:
        """Calls a method of the runner with a stage and a context."""
        config = trace.start(context.config, _report)
        own = Context(context.batch, context.time, context.watermark)
        return self.run(name, HostStage(config), own, *arguments)

    def run(self, name: str, *arguments: Any) -> Any:
        """Calls a method of the runner."""
        return self.guarded(getattr(self.plugin.runner, name), *arguments)

    def guarded(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a function. Converts exceptions to errors of the host's interface."""
        # componentize-py seeds random numbers in an instance's first call. The host has a seed for each call.
        if Exports.was_called:
            random.seed()
        Exports.was_called = True
        try:
            return function(*arguments)
        except BaseException as error:
            raise _error(error) from None

    def described(self, config: str, inputs: list[Any]) -> Description:
        """Returns the plugin's description."""
        own = Stage(trace.start(config, _report), [_schema(wire) for wire in inputs], _schema(stage.key()))
        description = self.plugin.finish(self.run("describe", own))
        for name, value in self.about.items():
            setattr(description, name, getattr(description, name) or value)
        return description

    def describe(self, config: str, input: Any) -> Any:
        """Returns the plugin's description, in worlds with one input."""
        own = self.described(config, [input])
        return types.Description(
            own.name,
            own.version,
            own.doc,
            _to_wire(own.input),
            _to_wire(own.output),
            _to_wire(own.state),
            None if own.key is None else _to_wire(own.key),
            own.inverse,
            own.config_schema,
        )


class Transformer(Exports):
    """World ``transform``."""

    def process(self, context: Any, input: Any) -> Any:
        made = self.called("process", context, input)
        return self.module.Output(made.rows, _rejections(made.rejected))


class Updater(Exports):
    """World ``update``."""

    def update(self, context: Any, groups: Any) -> Any:
        made = self.called("update", context, groups)
        return self.module.Updated(made.states, made.kept, made.output, _rejections(made.rejected))


class Aggregator(Exports):
    """World ``aggregate``."""

    def lift(self, context: Any, rows: Any) -> Any:
        return self.called("lift", context, rows)

    def combine(self, context: Any, left: Any, right: Any) -> Any:
        return self.called("combine", context, left, right)

    def lower(self, context: Any, keys: Any, accumulators: Any) -> Any:
        return self.called("lower", context, keys, accumulators)

    def inverse(self, context: Any, whole: Any, part: Any) -> Any:
        return self.called("inverse", context, whole, part)


class Cogrouper(Exports):
    """World ``cogroup``."""

    def describe(self, config: str, inputs: list[Any]) -> Any:
        own = self.described(config, inputs)
        return self.module.Description(
            own.name,
            own.version,
            own.doc,
            [_to_wire(schema) for schema in own.inputs],
            _to_wire(own.output),
            None if own.key is None else _to_wire(own.key),
            own.config_schema,
        )

    def cogroup(self, context: Any, groups: Any) -> Any:
        made = self.called("cogroup", context, groups)
        return self.module.Output(made.rows, [_rejections(rejected) for rejected in made.rejected])


class Migrator(Exports):
    """Additional exports of world ``update-migrating``."""

    migrations: Migrations

    def migrate(self, config: str, from_version: str, states_schema: Any, states: Any) -> Any:
        trace.start(config, _report)
        return self.guarded(self.migrations.migrate, from_version, _schema(states_schema), states)


class Reader(Exports):
    """World ``source``."""

    #: The object that reads the partition.
    reader: Any = None

    def describe(self, config: str) -> Any:
        own = self.plugin.finish(self.guarded(self.plugin.runner.describe, trace.start(config, _report)))
        about = self.about
        return self.module.Description(
            own.name or about["name"],
            own.version or about["version"],
            own.doc or about["doc"],
            _to_wire(own.output),
            own.config_schema,
        )

    def partitions(self, config: str) -> list[str]:
        return self.read("partitions", config)

    def open(self, config: str, partition: str, position: bytes | None) -> None:
        Reader.reader = self.read("open", config, partition, position)

    def poll(self, rows_max: int, wait_ms: int) -> Any:
        return self.guarded(self._poll, rows_max, wait_ms)

    def durable(self, position: bytes) -> None:
        self.read("notify", Reader.reader, "durable", position)

    def published(self, position: bytes) -> None:
        self.read("notify", Reader.reader, "published", position)

    def read(self, name: str, *arguments: Any) -> Any:
        """Calls a method of the runner."""
        return self.guarded(_or_trap, getattr(self.plugin.runner, name), *arguments)

    def _poll(self, rows_max: int, wait_ms: int) -> Any:
        rows, polled = _or_trap(self.plugin.runner.poll, Reader.reader, rows_max, wait_ms)
        refused = [self.module.Refusal(data, reason) for data, reason in rows.refused]
        pause = polled.pause_ms
        if pause is None:
            then = self.module.Next_Ended()
        else:
            then = self.module.Next_Pause(min(pause, 0xFFFFFFFF)) if pause > 0 else self.module.Next_Ready()
        return self.module.Polled(_or_trap(rows.finish), refused, polled.position, then)


class Writer(Exports):
    """World ``sink``."""

    #: The object that writes, and the columns of its rows.
    writer: Any = None
    input: Schema

    def describe(self, config: str, input: Any) -> Any:
        own, promise = self.guarded(self.plugin.runner.describe, trace.start(config, _report), _schema(input))
        self.plugin.finish(own)
        promises = self.module.Promise
        about = self.about
        return self.module.Description(
            own.name or about["name"],
            own.version or about["version"],
            own.doc or about["doc"],
            _to_wire(own.input),
            promises.EXACTLY_ONCE if promise == "exactly-once" else promises.AT_LEAST_ONCE,
            own.config_schema,
        )

    def committed(self, config: str, identity: Any) -> int | None:
        return self.write_call("committed", config, _identity(identity))

    def open(self, config: str, input: Any, owner: Any) -> int | None:
        Writer.input = _schema(input)
        who = Owner(_identity(owner.identity), owner.generation)
        Writer.writer, last = self.write_call("open", config, Writer.input, who)
        return last

    def begin(self, batch: int, time: int) -> None:
        self.write_call("begin", Writer.writer, batch, time)

    def write(self, rows: Any) -> list[Any]:
        return _rejections(self.write_call("write", Writer.writer, Writer.input, rows))

    def commit(self, batch: int) -> None:
        self.write_call("commit", Writer.writer, batch)

    def write_call(self, name: str, *arguments: Any) -> Any:
        """Calls a method of the runner."""
        return self.guarded(_or_trap, getattr(self.plugin.runner, name), *arguments)


def _identity(wire: Any) -> Identity:
    return Identity(wire.job, wire.job_id, wire.sink)


def _or_trap(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function of a source or a sink. The host retries the returned errors, which are transient. A bug of the plugin is
    permanent: it traps, which fails the job."""
    try:
        return function(*arguments)
    except (PluginError, OSError):
        raise
    except BaseException as error:
        print(to_plugin_error(error), file=sys.stderr, flush=True)
        os.abort()


_WORLDS = {
    "transform": Transformer,
    "update": Updater,
    "aggregate": Aggregator,
    "cogroup": Cogrouper,
    "source": Reader,
    "sink": Writer,
}


#: Marks an error message at build time, so that `millstream build` finds it in the output of its tools.
_ERROR, _END = "<<<millstream ", ">>>"
#: Directory of the SDK in a component. Modules are searched in some project directories before it, in others after it.
_SDK = "/1"
#: Description of the plugin to load, written by `millstream build`.
_ORDER = "/2/order.json"


class Waiting:
    """A component without a plugin. CPython and the SDK start slowly and are the same for all plugins of a world. So they are
    started once, and each build continues from there."""

    #: The component's exports, before it has a plugin.
    exports: type[Exports]
    migrator: type[Migrator] | None = None


def export(world: str) -> type[Exports]:
    """Returns the class that a component of this world exports."""
    own = _WORLDS[world]
    interface = importlib.import_module(f"wit_world.exports.{own.__name__.lower()}")
    timers = importlib.import_module("wit_world.imports.timers") if world == "update" else None
    sockets = importlib.import_module("wit_world.imports.net") if world in ("source", "sink") else None
    host.current = ComponentHost(timers, sockets, _requests())
    Waiting.exports = type(own.__name__, (own,), {"module": interface, "world": world})
    return Waiting.exports


def _requests() -> Any:
    """Returns the module that sends HTTP requests, or None in worlds without its imports."""
    try:
        return importlib.import_module(".component_http", __package__)
    except ImportError:
        return None


def migrator() -> type[Migrator]:
    """Returns the class that exports `migrate`."""
    importlib.import_module("wit_world.exports.migrator")
    Waiting.migrator = type(Migrator.__name__, (Migrator,), {})
    return Waiting.migrator


def keep(folders: list[str], to: str) -> None:
    """Copies the directories of Python's modules for later builds, and prepares the component to be saved."""
    for folder in folders:
        for path, _, files in os.walk(folder):
            os.makedirs(to + path, exist_ok=True)
            for name in files:
                if name.endswith((".py", ".pyi")) or "." not in name:
                    with open(f"{path}/{name}", "rb") as source, open(f"{to}{path}/{name}", "wb") as target:
                        target.write(source.read())
    late.import_all()
    _settle()


def load() -> None:
    """Loads the plugin into the component.

    Raises ImportError if the module cannot be imported, has no plugin of the world or several, or if types do not fit the world.
    """
    try:
        with open(_ORDER) as file:
            order = json.load(file)
        at = sys.path.index(_SDK)
        sys.path[at : at + 1] = [*order["before"], _SDK, *order["behind"]]
        # A directory that did not exist at the first search may exist now.
        sys.path_importer_cache.clear()
        module = importlib.import_module(order["module"])
        _take(module, order["about"])
        if Waiting.migrator:
            _take_migrations(module)
        late.import_all()
        late.refuse_loops()
        failure.is_component = True
        _keep_sources(module)
        sys.path_importer_cache.clear()
        _settle()
    except BaseException as error:
        raise ImportError(f"{_ERROR}{to_plugin_error(error)}{_END}") from None


def _settle() -> None:
    """Makes the component deterministic: no random value may become a part of it."""
    random.seed(0)
    gc.collect()
    gc.freeze()


def _take(module: ModuleType, about: dict[str, str]) -> None:
    exports = Waiting.exports
    plugin = _find(module, exports.world)
    if _migrations(module) and Waiting.migrator is None:
        raise TypeError(f"{module.__name__}.py has a function with @migrate: set the world in pyproject.toml to update-migrating")
    # Reports errors in the signature at build time.
    plugin.prepare()
    exports.plugin, exports.about = plugin, about


def _take_migrations(module: ModuleType) -> None:
    functions = _migrations(module)
    if not functions or Waiting.migrator is None:
        raise TypeError(f"{module.__name__}.py has no function with @migrate, which world update-migrating needs")
    Waiting.migrator.migrations = Migrations([plugin.prepare() for plugin in functions])


def _migrations(module: ModuleType) -> list[Plugin[Any]]:
    marked = (getattr(subject, MARK, None) for subject in vars(module).values())
    return [plugin for plugin in marked if isinstance(plugin, Plugin) and plugin.world == "migrate"]


def _find(module: ModuleType, world: str) -> Plugin[Any]:
    found: dict[int, tuple[str, Plugin[Any]]] = {}
    for name, subject in vars(module).items():
        plugin = getattr(subject, MARK, None)
        if isinstance(plugin, Plugin) and plugin.world == world and plugin.subject is subject:
            found[id(plugin)] = name, plugin
    own = [(name, plugin) for name, plugin in found.values() if plugin.subject.__module__ == module.__name__]
    choice = own or list(found.values())
    if len(choice) == 1:
        return choice[0][1]
    if choice:
        raise TypeError(f"{module.__name__}.py has two plugins, `{choice[0][0]}` and `{choice[1][0]}`: keep one of them")
    raise TypeError(f"{module.__name__}.py has no function or class with @{world}, the world in pyproject.toml")


def _keep_sources(module: ModuleType) -> None:
    """Keeps the project's source lines for tracebacks: at run time there are no files."""
    folder = os.path.dirname(module.__file__ or "")
    for own in list(sys.modules.values()):
        file = getattr(own, "__file__", None)
        if file and os.path.dirname(file) == folder:
            lines = linecache.getlines(file)
            linecache.cache[file] = (sum(map(len, lines)), None, lines, file)
