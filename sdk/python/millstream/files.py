"""Read-only files that the job grants by name (broadcast variables): ``grant = { files = { name = "path" } }``."""

from __future__ import annotations

from . import host


def read_all(name: str) -> bytes:
    """The contents of a granted file. Raises FileNotFoundError where the job grants none of this name.

    In tests, the file of this name under ``testdata/`` of the folder that tests run in.
    """
    return host.read_file(name)
