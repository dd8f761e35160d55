"""The host functions that a plugin can call. In tests, outside of a component, this process implements them."""

from __future__ import annotations

import importlib
import pathlib
import sys
from typing import Any

from .columns import Column, Timestamp, offsets, words
from .errors import InternalError


class Due:
    """The due timers of the groups of a call."""

    def __init__(self, ends: bytes = b"", times: bytes = b"") -> None:
        count = len(ends) // 4
        self._ends = [0, *offsets(Column(b"", offsets=ends), max(count - 1, 0))] if count else [0]
        self._times = [Timestamp(at) for at in words(Column(times), len(times) // 8, "q")]

    def of(self, group: int) -> list[Timestamp]:
        """Returns the due timers of a group, earliest first."""
        if group + 1 >= len(self._ends):
            return []
        return self._times[self._ends[group] : self._ends[group + 1]]


class Host:
    """The host in tests. Logs to standard error, reads files from ``testdata/``, and counts in this process."""

    def __init__(self) -> None:
        #: Values of the counters.
        self.counters: dict[str, int] = {}
        #: Timers that are due in the call.
        self.due_times = Due()
        #: Timers set or canceled by the call: group, time, and True if set.
        self.timer_changes: list[tuple[int, int, bool]] = []

    def log(self, level: str, message: str) -> None:
        """Logs a line. The level is debug, info, warn or error."""
        print(f"{level}: {message}", file=sys.stderr)

    def add(self, counter: str, amount: int) -> None:
        """Adds to a counter."""
        self.counters[counter] = self.counters.get(counter, 0) + amount

    def file_size(self, name: str) -> int:
        """Returns the size of a granted file in bytes. Raises FileNotFoundError if the job grants no file of this name."""
        return len(self.file_read(name, 0, None))

    def file_read(self, name: str, offset: int, length: int | None) -> bytes:
        """Reads bytes of a granted file."""
        content = pathlib.Path("testdata", name).read_bytes()
        return content[offset : None if length is None else offset + length]

    def set_timer(self, group: int, at: int) -> None:
        """Sets a timer for the key of a group."""
        self.timer_changes.append((group, at, True))

    def cancel_timer(self, group: int, at: int) -> None:
        """Cancels a timer that `set_timer` set."""
        self.timer_changes.append((group, at, False))

    def due(self) -> Due:
        """Returns the due timers of this call."""
        return self.due_times

    def connect(self, name: str, port: int, timeout_ms: int) -> int:
        """Opens a TCP connection. Returns the socket's number. All socket functions raise `net.Fault`."""
        return _sockets().connect(name, port, timeout_ms)

    def read(self, socket: int, bytes_max: int, timeout_ms: int) -> bytes:
        """Reads the available bytes, at least one."""
        return _sockets().read(socket, bytes_max, timeout_ms)

    def write(self, socket: int, data: bytes, timeout_ms: int) -> None:
        """Writes all bytes."""
        _sockets().write(socket, data, timeout_ms)

    def bind(self, name: str, port: int) -> int:
        """Opens a UDP socket. Returns its number."""
        return _sockets().bind(name, port)

    def receive(self, socket: int, bytes_max: int, timeout_ms: int) -> tuple[str, bytes]:
        """Receives the next datagram. Returns its sender and its data."""
        return _sockets().receive(socket, bytes_max, timeout_ms)

    def send(self, socket: int, name: str, port: int, data: bytes) -> None:
        """Sends a datagram."""
        _sockets().send(socket, name, port, data)

    def close(self, socket: int) -> None:
        """Closes a socket."""
        _sockets().close(socket)

    def ask(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, timeout_ms: int, body_bytes_max: int
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Sends an HTTP request. Returns status, headers and body of the response. Raises `net.Fault`."""
        return importlib.import_module("millstream.requests").ask(method, url, headers, body, timeout_ms, body_bytes_max)


def _sockets() -> Any:
    """Returns the sockets of the machine. Imported late: a component has neither these nor Python's module for them."""
    return importlib.import_module("millstream.sockets")


#: The host of this process.
current = Host()

#: Maximum bytes of a file per read.
PIECE_BYTES = 1 << 26


def read_file(name: str) -> bytes:
    """Reads a complete granted file. Raises FileNotFoundError if the job grants no file of this name."""
    size = current.file_size(name)
    pieces: list[bytes] = []
    read = 0
    while read < size:
        piece = current.file_read(name, read, min(size - read, PIECE_BYTES))
        if not piece:
            raise InternalError(f"the file `{name}` ended at {read} of {size} bytes")
        pieces.append(piece)
        read += len(piece)
    return b"".join(pieces)
