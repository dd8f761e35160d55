"""Imports at build time what Python imports on first use. At run time there are no files to import from.

Only `glue` uses this. It searches the code of all loaded functions, including the standard library's and packages', for imports.
It cannot find imports of computed names, except those in `_BY_NAME`.
"""

from __future__ import annotations

import dis
import gc
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from io import BytesIO
from types import CodeType, FunctionType
from typing import Any

#: Modules that Python imports by name: for `datetime.strptime`, the host names of `idna`, and modules written in C.
_BY_NAME = ["_strptime", "calendar", "copyreg", "locale", "stringprep", "typing", "unicodedata", "warnings"]
#: Late imports of the standard library that are not needed: for developers, files, networks and processes, which a component does
#: not have. A plugin that needs one imports it at module level.
_LEFT_OUT = {
    "_aix_support", "_osx_support", "_pydatetime", "_pydecimal", "_pyio", "_pyrepl", "antigravity", "argparse", "ast", "asyncio",
    "bdb", "cmd", "code", "compression", "concurrent", "ctypes", "difflib", "doctest", "email", "ensurepip", "ftplib", "getopt",
    "getpass", "gettext", "http", "idlelib", "logging", "msvcrt", "multiprocessing", "nt", "ntpath", "optparse", "pdb", "py_compile",
    "pydoc", "pydoc_data", "readline", "rlcompleter", "shutil", "site", "sitecustomize", "socket", "socketserver", "ssl",
    "subprocess", "sysconfig", "tarfile", "tempfile", "test", "this", "tkinter", "tracemalloc", "tty", "turtle", "unittest",
    "urllib", "usercustomize", "venv", "webbrowser", "winreg", "xml", "zipfile",
}  # fmt: skip
#: Not searched for imports either: tools to inspect programs and packages, and the SDK itself.
_TOOLS = {
    "_frozen_importlib", "_frozen_importlib_external", "_sitebuiltins", "ast", "dis", "importlib", "inspect", "millstream",
    "pkgutil", "site", "traceback", "zipimport",
}  # fmt: skip
#: Maximum rounds of searching the modules that the previous round imported. Chains of imports within functions are short.
_ROUNDS_MAX = 8


def import_all() -> None:
    """Imports what the loaded modules would import later, and keeps the zones of `zoneinfo`."""
    for name in [*_BY_NAME, *_encodings()]:
        _try(name)
    seen: set[int] = set()
    tried: set[tuple[str, str]] = set()
    for _ in range(_ROUNDS_MAX):
        wanted = {own for function in _functions() for own in _imports(function, seen)}
        missing = sorted(own for own in wanted if own not in tried)
        for name, part in missing:
            _import(name, part)
        tried.update(missing)
        if not missing:
            break
    if "zoneinfo" in sys.modules:
        _keep_zones()


def refuse_loops() -> None:
    """Makes event loops of `asyncio` fail with a message. They start with a socket, and a component without sockets would trap."""
    own = sys.modules.get("asyncio.selector_events")
    if own is not None:
        own.BaseSelectorEventLoop.__new__ = _no_loop  # type: ignore[attr-defined]


def _no_loop(*_: Any, **__: Any) -> Any:
    raise RuntimeError(
        "a plugin has no event loop, because it cannot wait: instead of asyncio.run(...), call "
        "plain functions (`def` without `async`) one after another"
    )


def _import(name: str, part: str) -> None:
    """Imports a module, and the part that is imported from it if that is also a module."""
    if name not in sys.modules:
        _try(name)
    own = sys.modules.get(name)
    if part and hasattr(own, "__path__") and not hasattr(own, part) and f"{name}.{part}" not in sys.modules:
        _try(f"{name}.{part}")


def _try(name: str) -> None:
    try:
        importlib.import_module(name)
    except BaseException:  # noqa: BLE001
        # Not available on this machine, or an error that the importer would catch. A later import raises it again.
        pass


def _encodings() -> list[str]:
    import encodings

    names = sorted(own.removesuffix(".py") for own in os.listdir(os.path.dirname(encodings.__file__)) if own.endswith(".py"))
    return [f"encodings.{name}" for name in names if not name.startswith("__")]


def _functions() -> Iterator[FunctionType]:
    for own in gc.get_objects():
        if type(own) is FunctionType:
            yield own


def _imports(function: FunctionType, seen: set[int]) -> Iterator[tuple[str, str]]:
    """Yields the modules that a function's code imports, each with the name imported from it."""
    package = function.__globals__.get("__package__") or ""
    module = str(function.__module__).partition(".")[0]
    is_library = module in sys.stdlib_module_names
    if module in _TOOLS:
        return
    for code in _codes(function.__code__, seen):
        for name, part in _named(code, package):
            top = name.partition(".")[0]
            if not is_library or top == module or top not in _LEFT_OUT | _TOOLS:
                yield name, part


def _codes(code: CodeType, seen: set[int]) -> Iterator[CodeType]:
    if id(code) in seen:
        return
    seen.add(id(code))
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant, seen)


_IMPORT_NAME = dis.opmap["IMPORT_NAME"]


def _named(code: CodeType, package: str) -> Iterator[tuple[str, str]]:
    if _IMPORT_NAME not in code.co_code[::2]:
        return
    # The level and the imported names come before the module's name, as in `from ..a import b`.
    level: Any = 0
    parts: Any = None
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            name = instruction.argval
            if isinstance(level, int) and level:
                try:
                    name = importlib.util.resolve_name("." * level + name, package)
                except ImportError:
                    continue
            yield name, ""
            for part in parts if isinstance(parts, tuple) else ():
                yield name, part
        elif instruction.opname != "EXTENDED_ARG":
            level, parts = parts, instruction.argval


def _keep_zones() -> None:
    """Makes `zoneinfo` read zones from memory. They are those of the package `tzdata` at build time."""
    try:
        import tzdata
    except ImportError:
        return
    folder = os.path.join(os.path.dirname(tzdata.__file__), "zoneinfo")
    zones: dict[str, bytes] = {}
    # Many names share a zone.
    contents: dict[bytes, bytes] = {}
    with open(os.path.join(os.path.dirname(folder), "zones")) as names:
        for name in names.read().split():
            with open(os.path.join(folder, *name.split("/")), "rb") as file:
                content = file.read()
            zones[name] = contents.setdefault(content, content)
    _use(zones)


def _use(zones: dict[str, bytes]) -> None:
    import zoneinfo
    from zoneinfo import _common  # type: ignore[attr-defined]

    def load(key: str) -> BytesIO:
        if key not in zones:
            raise zoneinfo.ZoneInfoNotFoundError(f"No time zone found with key {key}")
        return BytesIO(zones[key])

    _common.load_tzdata = load
    zoneinfo.available_timezones = lambda: set(zones)
