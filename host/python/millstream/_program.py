"""Path and start of the program `millstream`, which the package includes."""

import os
import sys
from pathlib import Path


def program() -> Path:
    """Returns the path of the program ``millstream``: the value of ``MILLSTREAM_PROGRAM`` if set, else the included one."""
    named = os.environ.get("MILLSTREAM_PROGRAM")
    return Path(named) if named else Path(__file__).parent / "bin" / "millstream"


def main() -> None:
    """Replaces this process with the program. The package's command ``millstream`` calls it."""
    file = str(program())
    try:
        os.execv(file, [file, *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"error: {file} cannot be started: {error}; install the package `millstream` again")
