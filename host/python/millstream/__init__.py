"""Plugins and jobs of Millstream in Python.

A plugin works on tables of any library that speaks Arrow, in a sandbox and under limits::

    import millstream
    import pyarrow as pa

    split = millstream.Plugin("plugins/split-words", config={"lowercase": True})
    out = split.process(pa.table({"line": ["To be or not to be"]}))
    print(pa.table(out.rows))

A job is run by the program ``millstream``, which this package brings along::

    with millstream.Job("job.toml") as job:
        for batch in job.rows("words"):
            ...
"""

from ._native import EnvironmentError, InternalError, MillstreamError, PluginError, Rows, UsageError
from ._program import program
from .job import Job
from .plugin import Output, Plugin, Updates

__version__ = "0.1.0"

__all__ = [
    "EnvironmentError",
    "InternalError",
    "Job",
    "MillstreamError",
    "Output",
    "Plugin",
    "PluginError",
    "Rows",
    "Updates",
    "UsageError",
    "program",
]
