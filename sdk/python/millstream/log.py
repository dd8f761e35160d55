"""Words for the operator. The host shows them with stage, plugin and batch, and drops what is above its limits.

What is printed is logged as well: standard output as info, standard error as error. In tests lines go to standard error.
"""

from __future__ import annotations

from . import host


def debug(message: object) -> None:
    """For whoever develops the plugin."""
    host.current.log("debug", str(message))


def info(message: object) -> None:
    """For whoever runs the job."""
    host.current.log("info", str(message))


def warn(message: object) -> None:
    """Something that the operator should look at."""
    host.current.log("warn", str(message))


def error(message: object) -> None:
    """Something that went wrong."""
    host.current.log("error", str(message))
