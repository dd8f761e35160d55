"""Timers of world ``update``: a key is called again when a time has come.

The times are event time, told by the watermark, where the stage has ``time``, and processing time elsewhere.
"""

from __future__ import annotations

from . import host
from .columns import Timestamp


class Timers:
    """The timers of one key."""

    def __init__(self) -> None:
        self._due = host.current.due()
        self._group = 0
        self._asked: list[tuple[int, bool]] = []

    def due(self) -> list[Timestamp]:
        """The times that were asked for and have come, the earliest first: why the key is called, where it has no rows.
        They are not told again."""
        return self._due.of(self._group)

    def set(self, at: int) -> None:
        """Asks to be called for this key, with rows or without, in the first batch after this one that has reached this
        time. A key has one timer a time. A timer waits until it is due or cancelled, also where the state is removed."""
        self._asked.append((int(at), True))

    def cancel(self, at: int) -> None:
        """Takes back what `set` asked for, in this call or in one before."""
        self._asked.append((int(at), False))

    def begin(self, group: int) -> None:
        """The calls that follow are for the key of this group; called by the SDK."""
        self._group = group

    def end(self, done: bool) -> None:
        """Tells the host what the function asked for, unless it refused its rows; called by the SDK."""
        if self._asked:
            for at, is_set in self._asked if done else ():
                tell = host.current.set_timer if is_set else host.current.cancel_timer
                tell(self._group, at)
            self._asked.clear()
