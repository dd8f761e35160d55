"""Reads a stage's config as a dataclass, and generates its JSON Schema."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any, Literal, Union, get_args, get_origin

from .errors import ConfigError

_MISSING = dataclasses.MISSING


def read(cls: Any, config: Any) -> Any:
    """Converts a config to a type: a dataclass, or ``dict`` for plain JSON. Raises ConfigError."""
    return _value(cls, config, "")


def schema(cls: Any) -> str:
    """Returns the JSON Schema of a config type, or an empty string if any config is valid."""
    return json.dumps(_schema(cls)) if dataclasses.is_dataclass(cls) else ""


def _prefix(path: str) -> str:
    return f"{path}: " if path else ""


def _value(annotation: Any, value: Any, path: str) -> Any:
    """Converts a JSON value to a type. ``path`` is its path in the config, for messages."""
    if dataclasses.is_dataclass(annotation):
        return _object(annotation, value, path)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _any_of(arguments, value, path)
    if origin is Literal:
        if value in arguments:
            return value
        raise _wrong(value, " or ".join(json.dumps(one) for one in arguments), path)
    if annotation in (list, tuple, set) or origin in (list, tuple, set):
        return _list(annotation, origin or annotation, arguments, value, path)
    if annotation is dict or origin is dict:
        if not isinstance(value, dict):
            raise _wrong(value, "a table", path)
        inner = arguments[1] if arguments else Any
        return {name: _value(inner, own, _join(path, name)) for name, own in value.items()}
    return _plain(annotation, value, path)


def _plain(annotation: Any, value: Any, path: str) -> Any:
    if annotation is Any:
        return value
    if annotation is type(None) and value is None:
        return None
    if annotation is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if annotation in (bool, int, str) and type(value) is annotation:
        return value
    expected = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", type(None): "null"}
    if annotation not in expected:
        raise TypeError(f"{path or 'config'}: a config cannot hold {annotation!r}")
    raise _wrong(value, expected[annotation], path)


def _object(cls: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(value, "a table", path)
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for name in value:
        if name not in fields:
            raise ConfigError(f"{_prefix(path)}unknown field `{name}`, {_expected(list(fields))}")
    given = {name: _value(hints[name], own, _join(path, name)) for name, own in value.items()}
    for name, field in fields.items():
        if name not in given and field.default is _MISSING and field.default_factory is _MISSING:
            raise ConfigError(f"{_prefix(path)}missing field `{name}`")
    try:
        return cls(**given)
    except ValueError as error:
        # `__post_init__` rejects a combination of values.
        raise ConfigError(f"{_prefix(path)}{error}") from None


def _any_of(choices: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in choices:
        return None
    choices = tuple(choice for choice in choices if choice is not type(None))
    error: ConfigError | None = None
    for choice in choices:
        try:
            return _value(choice, value, path)
        except ConfigError as refused:
            error = error or refused
    raise error or _wrong(value, "null", path)


def _list(annotation: Any, kind: Any, arguments: tuple[Any, ...], value: Any, path: str) -> Any:
    if not isinstance(value, list):
        raise _wrong(value, "a list", path)
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(arguments) != len(value):
            raise ConfigError(f"{_prefix(path)}invalid length {len(value)}, expected {len(arguments)} values")
        return tuple(_value(inner, own, f"{path}[{i}]") for i, (inner, own) in enumerate(zip(arguments, value)))
    inner = arguments[0] if arguments else Any
    return kind(_value(inner, own, f"{path}[{i}]") for i, own in enumerate(value))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _expected(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    if not quoted:
        return "there are no fields"
    return f"expected {quoted[0]}" if len(quoted) == 1 else f"expected one of {', '.join(quoted)}"


def _wrong(value: Any, expected: str, path: str) -> ConfigError:
    match value:
        case bool():
            found = f"boolean `{json.dumps(value)}`"
        case int() | float():
            found = f"number `{value}`"
        case str():
            found = f"string {json.dumps(value, ensure_ascii=False)}"
        case None:
            found = "null"
        case list():
            found = "a list"
        case _:
            found = "a table"
    return ConfigError(f"{_prefix(path)}invalid type: {found}, expected {expected}")


def _schema(annotation: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(annotation):
        hints = typing.get_type_hints(annotation)
        fields = [field for field in dataclasses.fields(annotation) if field.init]
        required = [f.name for f in fields if f.default is _MISSING and f.default_factory is _MISSING]
        found: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
        for field in fields:
            found["properties"][field.name] = _schema(hints[field.name])
            if field.default is not _MISSING and isinstance(field.default, (bool, int, float, str)):
                found["properties"][field.name]["default"] = field.default
        return found | ({"required": required} if required else {})
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(choice) for choice in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if annotation in (list, tuple, set) or origin in (list, tuple, set):
        return {"type": "array"} | ({"items": _schema(arguments[0])} if arguments and origin is not tuple else {})
    if annotation is dict or origin is dict:
        return {"type": "object"} | ({"additionalProperties": _schema(arguments[1])} if arguments else {})
    names = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    return {"type": names[annotation]} if annotation in names else {}
