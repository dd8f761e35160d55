"""Formats errors of plugin functions: Python's traceback without the frames of the SDK."""

from __future__ import annotations

import os
import re
import traceback
from types import TracebackType

from . import net
from .code import FILE
from .errors import ConfigError, InputError, InternalError, PluginError
from .place import own_name

#: Whether this runs in a component, which can only import modules that it had at build time.
is_component = False

_SDK = os.path.dirname(__file__) + "/"


def to_plugin_error(error: BaseException) -> PluginError:
    """Returns the error for the host. The three kinds of `PluginError` keep their message; any other error gets a traceback."""
    if isinstance(error, (ConfigError, InputError, InternalError)):
        return error
    if isinstance(error, net.Fault):
        # The plugin's traceback does not explain this error.
        return InternalError(str(error))
    return _wrong_row(error) or InternalError("".join(_lines(error)).rstrip() + _hint(error))


def _hint(error: BaseException) -> str:
    """Returns a hint if the error comes from a part of Python that a component does not have."""
    found: BaseException | None = error
    while is_component and found is not None:
        if isinstance(found, ImportError):
            name = f"`{found.name}`" if found.name else "it"
            at_level = f"import {name} at module level, and see that `millstream build` finds it"
            return f"\n  Nothing can be imported while a plugin runs, but what was imported when it was built: {at_level}."
        if type(found).__name__ == "ZoneInfoNotFoundError":
            return "\n  Zones are those of the package `tzdata`: name it among the `dependencies` in pyproject.toml, and build again."
        found = found.__cause__ or found.__context__
    return ""


def _wrong_row(error: BaseException) -> InternalError | None:
    """Returns an error for a row without the expected fields. Such an error comes from the loop around the function."""
    frame = _last(error.__traceback__)
    if frame is None or not frame.tb_frame.f_code.co_filename.startswith(FILE):
        return None
    if not isinstance(error, (AttributeError, TypeError, ValueError)):
        return None
    found = frame.tb_frame.f_locals
    values = [found[name] for name in ("_r", "_new", "_row") if name in found]
    if not values:
        return None
    function, row = frame.tb_frame.f_code.co_filename.removeprefix(FILE).rstrip(">").rsplit(" ", 1)
    # The row or group of the call.
    number = next((f"row {found[name]}" for name in ("_i",) if name in found), None)
    if number is None and "_group" in found:
        key = [repr(found[name])[:100] for name in sorted(found) if re.fullmatch(r"_k\d+", name)]
        number = f"key {', '.join(key)}" if key else f"group {found['_group']}"
    call = f" for {number}" if number else ""
    return InternalError(f"{function}() returned {repr(values[0])[:100]}{call}, which is not a {row}: {error}")


def _last(found: TracebackType | None) -> TracebackType | None:
    while found is not None and found.tb_next is not None:
        found = found.tb_next
    return found


def _lines(error: BaseException) -> list[str]:
    report = traceback.TracebackException.from_exception(error, compact=True)
    part: traceback.TracebackException | None = report
    while part is not None:
        if isinstance(getattr(part, "filename", None), str):
            # The file of a syntax error.
            part.filename = own_name(part.filename)
        part.stack = traceback.StackSummary.from_list([with_own_name(own) for own in part.stack if is_shown(own.filename)])
        part = part.__cause__ or (None if part.__suppress_context__ else part.__context__)
    has_frames = report.stack or report.__cause__ or report.__context__
    return list(report.format() if has_frames else report.format_exception_only())


def is_shown(file: str) -> bool:
    """Returns whether a traceback shows the code of a file. Code of the SDK does not help the author of a plugin."""
    return not file.startswith((_SDK, FILE, "/python/importlib/", "<frozen importlib"))


def with_own_name(frame: traceback.FrameSummary) -> traceback.FrameSummary:
    """Returns a line of a traceback with the file's name as its author knows it."""
    return traceback.FrameSummary(own_name(frame.filename), frame.lineno, frame.name, line=frame.line or "")
