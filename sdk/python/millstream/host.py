"""What a plugin asks of the host. Outside of a component, in tests, this process takes its place."""

from __future__ import annotations

import importlib
import pathlib
import sys
from typing import Any

from .columns import Column, Timestamp, offsets, words
from .errors import InternalError


class Due:
    """The timers for which the groups of a call are called."""

    def __init__(self, ends: bytes = b"", times: bytes = b"") -> None:
        count = len(ends) // 4
        self._ends = [0, *offsets(Column(b"", offsets=ends), max(count - 1, 0))] if count else [0]
        self._times = [Timestamp(at) for at in words(Column(times), len(times) // 8, "q")]

    def of(self, group: int) -> list[Timestamp]:
        """Those of a group, the earliest first."""
        if group + 1 >= len(self._ends):
            return []
        return self._times[self._ends[group] : self._ends[group + 1]]


class Host:
    """The host as tests have it: lines go to standard error, files come from ``testdata/``, counters count here."""

    def __init__(self) -> None:
        #: What was counted.
        self.counters: dict[str, int] = {}
        #: The timers that are due in the call.
        self.due_times = Due()
        #: What the call asked for: group, time, and whether it is set or cancelled.
        self.asked: list[tuple[int, int, bool]] = []

    def log(self, level: str, message: str) -> None:
        """Writes a line; the level is debug, info, warn or error."""
        print(f"{level}: {message}", file=sys.stderr)

    def add(self, counter: str, amount: int) -> None:
        """Adds to a counter."""
        self.counters[counter] = self.counters.get(counter, 0) + amount

    def file_size(self, name: str) -> int:
        """The size of a granted file. Raises FileNotFoundError where the job grants none of this name."""
        return len(self.file_read(name, 0, None))

    def file_read(self, name: str, offset: int, length: int | None) -> bytes:
        """Bytes of a granted file."""
        content = pathlib.Path("testdata", name).read_bytes()
        return content[offset : None if length is None else offset + length]

    def set_timer(self, group: int, at: int) -> None:
        """Asks to be called for the key of a group."""
        self.asked.append((group, at, True))

    def cancel_timer(self, group: int, at: int) -> None:
        """Takes back what `set_timer` asked for."""
        self.asked.append((group, at, False))

    def due(self) -> Due:
        """The timers of this call."""
        return self.due_times

    def connect(self, name: str, port: int, timeout_ms: int) -> int:
        """Connects over TCP, and gives the number of the socket. All of these raise `net.Fault`."""
        return _sockets().connect(name, port, timeout_ms)

    def read(self, socket: int, bytes_max: int, timeout_ms: int) -> bytes:
        """Reads what is there, at least one byte."""
        return _sockets().read(socket, bytes_max, timeout_ms)

    def write(self, socket: int, data: bytes, timeout_ms: int) -> None:
        """Writes all of it."""
        _sockets().write(socket, data, timeout_ms)

    def bind(self, name: str, port: int) -> int:
        """Listens for datagrams, and gives the number of the socket."""
        return _sockets().bind(name, port)

    def receive(self, socket: int, bytes_max: int, timeout_ms: int) -> tuple[str, bytes]:
        """The next datagram, with its sender."""
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
        """Makes a request over HTTP: status, head and body of the answer. Raises `net.Fault`."""
        return importlib.import_module("millstream.requests").ask(method, url, headers, body, timeout_ms, body_bytes_max)


def _sockets() -> Any:
    """The sockets of the machine. Imported late: a component has neither these nor Python's module for them."""
    return importlib.import_module("millstream.sockets")


#: The host of this process.
current = Host()

#: Bytes of a file that are asked for at once.
PIECE_BYTES = 1 << 26


def read_file(name: str) -> bytes:
    """A whole granted file. Raises FileNotFoundError where the job grants none of this name."""
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
