"""The program `millstream` that the package brings along."""

import os
import sys
from pathlib import Path


def program() -> Path:
    """The program's file. ``MILLSTREAM_PROGRAM`` names another one."""
    named = os.environ.get("MILLSTREAM_PROGRAM")
    return Path(named) if named else Path(__file__).parent / "bin" / "millstream"


def main() -> None:
    """Becomes the program: what the command ``millstream`` of the package does."""
    file = str(program())
    try:
        os.execv(file, [file, *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"error: {file} cannot be started: {error}; install the package `millstream` again")
