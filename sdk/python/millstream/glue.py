"""What a component exports. Only the module that `millstream build` writes imports this: outside of a component there is no
`wit_world`, which componentize-py makes of the plugin's world."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import linecache
import os
import random
import sys
from collections.abc import Callable
from functools import cached_property
from types import ModuleType
from typing import Any

from componentize_py_types import Err
from wit_world.imports import files, log, metrics, stage, types

from . import failure, host, late
from .errors import ConfigError, InputError, PluginError
from .failure import failed
from .migrate import Migrations
from .plugin import MARK, Plugin
from .schema import Description, Field, Schema
from .stage import Context, Stage

_TO_WIRE = {
    "bool": types.DataType_Bool(),
    "int64": types.DataType_Int64(),
    "float64": types.DataType_Float64(),
    "text": types.DataType_Text(),
    "binary": types.DataType_Binary(),
    "timestamp": types.DataType_Timestamp(),
}
_FROM_WIRE = {type(wire): name for name, wire in _TO_WIRE.items()}
_LEVELS = {level.name.lower(): level for level in log.Level}


def _schema(wire: Any) -> Schema:
    def kind(of: Any) -> str:
        return _FROM_WIRE.get(type(of)) or f"arrow {of.value}"

    return Schema([Field(own.name, kind(own.type), own.nullable) for own in wire.fields])


def _to_wire(schema: Schema) -> Any:
    def kind(of: str) -> Any:
        return _TO_WIRE.get(of) or types.DataType_Arrow(of.removeprefix("arrow "))

    return types.Schema([types.Field(own.name, kind(own.type), own.nullable) for own in schema.fields])


class ComponentHost(host.Host):
    """The host of a component."""

    def __init__(self, timers: Any) -> None:
        super().__init__()
        self._timers = timers

    def log(self, level: str, message: str) -> None:
        log.write(_LEVELS[level], message)

    def add(self, counter: str, amount: int) -> None:
        metrics.add(counter, amount)

    def file_size(self, name: str) -> int:
        try:
            return files.size(name)
        except Err as error:
            raise FileNotFoundError(error.value) from None

    def file_read(self, name: str, offset: int, length: int | None) -> bytes:
        try:
            return files.read(name, offset, 0xFFFFFFFF if length is None else length)
        except Err as error:
            raise FileNotFoundError(error.value) from None

    def set_timer(self, group: int, at: int) -> None:
        self._timers.set(group, at)

    def cancel_timer(self, group: int, at: int) -> None:
        self._timers.cancel(group, at)

    def due(self) -> host.Due:
        due = self._timers.due()
        return host.Due(due.ends, due.times)


class HostStage(Stage):
    """The stage of a call. The host is asked for the schemas only when the plugin wants them."""

    def __init__(self, config: str) -> None:
        self._config = config

    @cached_property
    def inputs(self) -> list[Schema]:  # type: ignore[override]
        return [_schema(own) for own in stage.inputs()]

    @cached_property
    def key(self) -> Schema:  # type: ignore[override]
        return _schema(stage.key())


def _error(error: BaseException) -> Err:
    told: PluginError = failed(error)
    if isinstance(told, ConfigError):
        return Err(types.Error_Config(str(told)))
    if isinstance(told, InputError):
        return Err(types.Error_Input(str(told)))
    return Err(types.Error_Internal(str(told)))


def _rejections(rejected: list[tuple[int, str]]) -> list[Any]:
    return [types.Rejection(row, reason) for row, reason in rejected]


class Exports:
    """A plugin as a component exports it; each world adds its functions."""

    plugin: Plugin[Any]
    about: dict[str, str]
    #: Whether this instance was called before.
    was_called = False

    def called(self, name: str, context: Any, *arguments: Any) -> Any:
        """Calls a method of what runs the plugin."""
        own = Context(context.batch, context.time, context.watermark)
        return self.run(name, HostStage(context.config), own, *arguments)

    def run(self, name: str, *arguments: Any) -> Any:
        """Calls a method of what runs the plugin."""
        return self.guarded(getattr(self.plugin.runner, name), *arguments)

    def guarded(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a function, and turns what goes wrong into what the host understands."""
        # componentize-py seeds random numbers in an instance's first call. The host has a seed for each call.
        if Exports.was_called:
            random.seed()
        Exports.was_called = True
        try:
            return function(*arguments)
        except BaseException as error:
            raise _error(error) from None

    def described(self, config: str, inputs: list[Any]) -> Description:
        """What the plugin says of itself."""
        own = Stage(config, [_schema(wire) for wire in inputs], _schema(stage.key()))
        description = self.plugin.finish(self.run("describe", own))
        for name, value in self.about.items():
            setattr(description, name, getattr(description, name) or value)
        return description

    def describe(self, config: str, input: Any) -> Any:
        """What the plugin says of itself; for worlds of one input."""
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
    """What world ``update-migrating`` exports beside ``update``."""

    migrations: Migrations

    def migrate(self, config: str, from_version: str, states_schema: Any, states: Any) -> Any:
        return self.guarded(self.migrations.migrate, from_version, _schema(states_schema), states)


_WORLDS = {"transform": Transformer, "update": Updater, "aggregate": Aggregator, "cogroup": Cogrouper}


#: What stands around the words of an error at build time, so that `millstream build` finds them among those of its tools.
_ERROR, _END = "<<<millstream ", ">>>"


def export(module: str, world: str, about: dict[str, str]) -> type[Exports]:
    """The class that a component of this world exports, for the plugin that a module holds.

    ``about`` are name, version and doc of the project. Raises ImportError where the module cannot be imported, where it holds
    no such plugin or more than one, or where its types do not fit the world.
    """
    try:
        return _export(importlib.import_module(module), world, about)
    except BaseException as error:
        raise ImportError(f"{_ERROR}{failed(error)}{_END}") from None


def migrator(module: str) -> type[Exports]:
    """The class with which a component takes over states, for the functions with ``@migrate`` of the plugin's module."""
    try:
        functions = _migrations(importlib.import_module(module))
        if not functions:
            raise TypeError(f"{module}.py has no function with @migrate, as plugins of world update-migrating have")
        migrations = Migrations([plugin.prepare() for plugin in functions])
        return type(Migrator.__name__, (Migrator,), {"migrations": migrations})
    except BaseException as error:
        raise ImportError(f"{_ERROR}{failed(error)}{_END}") from None


def _export(module: ModuleType, world: str, about: dict[str, str]) -> type[Exports]:
    exports = _WORLDS[world]
    interface = importlib.import_module(f"wit_world.exports.{exports.__name__.lower()}")
    timers = importlib.import_module("wit_world.imports.timers") if world == "update" else None
    host.current = ComponentHost(timers)
    plugin = _find(module, world)
    if _migrations(module) and importlib.util.find_spec("wit_world.exports.migrator") is None:
        raise TypeError(f"{module.__name__}.py has a function with @migrate: the world in pyproject.toml is update-migrating then")
    made = type(exports.__name__, (exports,), {"plugin": plugin, "about": about, "module": interface})
    # A mistake in the signature shows here, at build time.
    plugin.prepare()
    late.import_all()
    failure.is_component = True
    _keep_sources(module)
    # Nothing that is random now may be a part of the component.
    random.seed(0)
    gc.collect()
    gc.freeze()
    return made


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
        raise TypeError(f"{module.__name__}.py has two plugins, `{choice[0][0]}` and `{choice[1][0]}`: leave one")
    raise TypeError(f"{module.__name__}.py has no function or class with @{world}, the world in pyproject.toml")


def _keep_sources(module: ModuleType) -> None:
    """Keeps the project's own source lines for tracebacks: at run time there are no files."""
    folder = os.path.dirname(module.__file__ or "")
    for own in list(sys.modules.values()):
        file = getattr(own, "__file__", None)
        if file and os.path.dirname(file) == folder:
            lines = linecache.getlines(file)
            linecache.cache[file] = (sum(map(len, lines)), None, lines, file)
