"""Runs Millstream plugins and jobs from Python.

`Plugin` calls a plugin on tables of any library that supports Arrow. The plugin runs in a sandbox, with limits::

    import millstream
    import pyarrow as pa

    split = millstream.Plugin("plugins/split-words", config={"lowercase": True})
    out = split.process(pa.table({"line": ["To be or not to be"]}))
    print(pa.table(out.rows))

`Job` runs a job with the program ``millstream``, which this package includes::

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
