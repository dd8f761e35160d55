"""Source locations of plugin functions, for messages."""

from __future__ import annotations

import inspect
import linecache
import re
from collections.abc import Callable
from typing import Any

#: Prefix of a file's path in a component: the number of the directory that the file came from.
_MOUNT = re.compile(r"^/\d+/")


def own_name(file: str) -> str:
    """Returns the name of a file as its author knows it."""
    return _MOUNT.sub("", file)


def missing_return(function: Callable[..., Any], wanted: str, hint: str = "") -> str:
    """Returns the message for a function that returned None, with its location. ``wanted`` is what it should return."""
    message = f"{function.__qualname__}() returned None instead of {wanted}: is a `return` missing?{hint and ' '}{hint}"
    return message + place_of(function)


def place_of(function: Callable[..., Any] | None) -> str:
    """Returns the location of a function as a further line of a traceback, or an empty string if it is unknown."""
    code = getattr(inspect.unwrap(function), "__code__", None) if function else None
    if function is None or code is None:
        return ""
    # For a function with decorators, the first line is the first decorator.
    first = code.co_firstlineno
    lines = linecache.getlines(code.co_filename)[first - 1 :]
    is_def = (i for i, line in enumerate(lines) if line.lstrip().startswith(("def ", "async def ")))
    return f'\n  File "{own_name(code.co_filename)}", line {first + next(is_def, 0)}, in {function.__name__}'
