"""Log messages for operators. The host adds stage, plugin and batch, and drops messages above its limits.

Printed text is also logged: standard output as info, standard error as error. In tests, messages go to standard error.
"""

from __future__ import annotations

from . import host


def debug(message: object) -> None:
    """Logs a message for the plugin's developers."""
    host.current.log("debug", str(message))


def info(message: object) -> None:
    """Logs a message for the job's operators."""
    host.current.log("info", str(message))


def warn(message: object) -> None:
    """Logs a problem that operators should look at."""
    host.current.log("warn", str(message))


def error(message: object) -> None:
    """Logs an error."""
    host.current.log("error", str(message))
