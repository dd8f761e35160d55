"""Counters (Spark's accumulators), summed over all calls of a stage and shown with the job's metrics."""

from __future__ import annotations

from . import host


def add(counter: str, amount: int = 1) -> None:
    """Adds to a counter, which starts at 0. Names match ``[a-z][a-z0-9_]{0,63}``; other names are ignored."""
    host.current.add(counter, amount)
