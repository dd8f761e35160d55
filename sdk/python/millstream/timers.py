"""Timers of world ``update``: a key is called again at a given time.

In a stage with ``time``, a timer's time is event time, measured by the watermark; otherwise it is processing time.
"""

from __future__ import annotations

from . import host
from .columns import Timestamp


class Timers:
    """The timers of one key."""

    def __init__(self) -> None:
        self._due = host.current.due()
        self._group = 0
        self._changes: list[tuple[int, bool]] = []

    def due(self) -> list[Timestamp]:
        """Returns the times that were set and have been reached, earliest first. If the key has no rows, these are the reason for
        the call. Each timer is due once."""
        return self._due.of(self._group)

    def set(self, at: int) -> None:
        """Sets a timer: the key is called, with or without rows, in the first batch after this one that has reached the time. A key
        has at most one timer per time. A timer stays until it is due or canceled, even if the state is removed."""
        self._changes.append((int(at), True))

    def cancel(self, at: int) -> None:
        """Cancels a timer that `set` set in this call or an earlier one."""
        self._changes.append((int(at), False))

    def begin(self, group: int) -> None:
        """Selects the group for the following calls. Called by the SDK."""
        self._group = group

    def end(self, done: bool) -> None:
        """Passes timer changes to the host, unless the function rejected its rows. Called by the SDK."""
        if self._changes:
            for at, is_set in self._changes if done else ():
                change = host.current.set_timer if is_set else host.current.cancel_timer
                change(self._group, at)
            self._changes.clear()
