"""Words for what went wrong in a plugin function: Python's own traceback, without the frames of the SDK."""

from __future__ import annotations

import os
import re
import traceback
from types import TracebackType

from . import net
from .code import FILE
from .errors import ConfigError, InputError, InternalError, PluginError
from .place import own_name

#: Whether this runs within a component, where nothing can be imported that was not there when it was made.
is_component = False

_SDK = os.path.dirname(__file__) + "/"


def failed(error: BaseException) -> PluginError:
    """The error that the host is told. One of the three kinds is told as it is, anything else with a traceback."""
    if isinstance(error, (ConfigError, InputError, InternalError)):
        return error
    if isinstance(error, net.Fault):
        # Where it was in the plugin says nothing of what is wrong.
        return InternalError(str(error))
    return _wrong_row(error) or InternalError("".join(_lines(error)).rstrip() + _hint(error))


def _hint(error: BaseException) -> str:
    """What to do about what is there in any other Python, and not in a component."""
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
    """Words for a row that has not the fields that it should have: such an error comes from the loop around the function."""
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
    # What it was called for.
    number = next((f"row {found[name]}" for name in ("_i",) if name in found), None)
    if number is None and "_group" in found:
        key = [repr(found[name])[:100] for name in sorted(found) if re.fullmatch(r"_k\d+", name)]
        number = f"key {', '.join(key)}" if key else f"group {found['_group']}"
    place = f" for {number}" if number else ""
    return InternalError(f"{function}() gave {repr(values[0])[:100]}{place}, which is no {row}: {error}")


def _last(found: TracebackType | None) -> TracebackType | None:
    while found is not None and found.tb_next is not None:
        found = found.tb_next
    return found


def _lines(error: BaseException) -> list[str]:
    told = traceback.TracebackException.from_exception(error, compact=True)
    part: traceback.TracebackException | None = told
    while part is not None:
        if isinstance(getattr(part, "filename", None), str):
            # Where an error of syntax is.
            part.filename = own_name(part.filename)
        part.stack = traceback.StackSummary.from_list([named(own) for own in part.stack if is_told(own.filename)])
        part = part.__cause__ or (None if part.__suppress_context__ else part.__context__)
    has_frames = told.stack or told.__cause__ or told.__context__
    return list(told.format() if has_frames else told.format_exception_only())


def is_told(file: str) -> bool:
    """Whether a traceback shows the code of a file: that of the SDK says nothing to the author of a plugin."""
    return not file.startswith((_SDK, FILE, "/python/importlib/", "<frozen importlib"))


def named(frame: traceback.FrameSummary) -> traceback.FrameSummary:
    """A line of a traceback with the file's name as its author knows it."""
    return traceback.FrameSummary(own_name(frame.filename), frame.lineno, frame.name, line=frame.line or "")
