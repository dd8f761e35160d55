"""Read-only files that the job grants by name (broadcast variables): ``grant = { files = { name = "path" } }``."""

from __future__ import annotations

from . import host


def read_all(name: str) -> bytes:
    """Returns the contents of a granted file. Raises FileNotFoundError if the job grants no file of this name.

    In tests, it reads the file of this name in ``testdata/``, relative to the current directory.
    """
    return host.read_file(name)
