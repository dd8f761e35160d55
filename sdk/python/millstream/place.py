"""Where an author's function stands."""

from __future__ import annotations

import inspect
import linecache
import re
from collections.abc import Callable
from typing import Any

#: What stands before the path of a file within a component: the number of the folder that it came from.
_MOUNT = re.compile(r"^/\d+/")


def own_name(file: str) -> str:
    """The name of a file as its author knows it."""
    return _MOUNT.sub("", file)


def missing_return(function: Callable[..., Any], wanted: str, hint: str = "") -> str:
    """Words for a function that returned None, with its place as a traceback has it. ``wanted`` is what it should return."""
    told = f"{function.__qualname__}() returned None instead of {wanted}: is a `return` missing?{hint and ' '}{hint}"
    return told + place_of(function)


def place_of(function: Callable[..., Any] | None) -> str:
    """Where a function begins, as a further line of a traceback; empty if that is not known."""
    code = getattr(inspect.unwrap(function), "__code__", None) if function else None
    if function is None or code is None:
        return ""
    # Where a function has decorators, its code begins with them.
    first = code.co_firstlineno
    lines = linecache.getlines(code.co_filename)[first - 1 :]
    is_def = (i for i, line in enumerate(lines) if line.lstrip().startswith(("def ", "async def ")))
    return f'\n  File "{own_name(code.co_filename)}", line {first + next(is_def, 0)}, in {function.__name__}'
