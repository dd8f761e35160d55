"""Connections over TCP, and datagrams over UDP, to where the job lets the source go: ``grant = { tcp = ["host:port"] }`` and
``udp = ["host:port"]``. Worlds ``source`` and ``sink`` only.

Every wait ends with its time; what was not there by then can be waited for again. In tests the sockets are those of the
machine, and nothing is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

from . import host

#: Bytes that are asked for at once.
_READ_BYTES = 1 << 16


class Fault(OSError):
    """Something could not be done: not granted, refused, unknown host."""


class TimedOut(Fault, TimeoutError):
    """Nothing came, or nothing was taken, within the time. Nothing is lost: it can be tried again."""


class Closed(Fault, ConnectionError):
    """The other side has closed the connection."""


class _Socket:
    """What is open until `close`, or for a ``with``."""

    def __init__(self, number: int) -> None:
        self._number = number

    def close(self) -> None:
        """Closes it; again does nothing."""
        host.current.close(self._number)

    def __enter__(self):  # type: ignore[no-untyped-def]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Connection(_Socket):
    """A connection over TCP."""

    def __init__(self, address: str, timeout_ms: int) -> None:
        """Connects to an address as ``example.com:514`` or ``[::1]:514``. Raises Fault."""
        super().__init__(host.current.connect(*_parts(address), timeout_ms))

    def read(self, bytes_max: int, timeout_ms: int) -> bytes:
        """What is there: at least one byte, and at most so many. Waits for the first. Raises Fault."""
        return host.current.read(self._number, bytes_max, timeout_ms)

    def write(self, data: bytes, timeout_ms: int) -> None:
        """Writes all of these bytes. After a `TimedOut` some of them may have gone out. Raises Fault."""
        host.current.write(self._number, data, timeout_ms)


class Lines:
    """The lines that come over a connection, whole, however they are sent."""

    def __init__(self, connection: Connection, line_bytes_max: int) -> None:
        #: The connection, to write to it.
        self.connection = connection
        self._line_bytes_max = line_bytes_max
        self._buffer = bytearray()
        #: Where the next line begins, and up to where no end of it was found.
        self._start = self._searched = 0

    def next(self, timeout_ms: int) -> bytes:
        """The next line, without its end (``\\n`` or ``\\r\\n``); waits for more of it no longer than this. A part of a line that
        has come by then is kept for the next call, and a part before the end of the connection is no line. Raises Fault."""
        while True:
            at = self._buffer.find(b"\n", self._searched)
            if at >= 0:
                line = bytes(self._buffer[self._start : at])
                self._start = self._searched = at + 1
                return line.removesuffix(b"\r")
            self._searched = len(self._buffer)
            if self._searched - self._start > self._line_bytes_max:
                raise Fault(f"a line of more than {self._line_bytes_max} bytes")
            more = self.connection.read(_READ_BYTES, timeout_ms)
            del self._buffer[: self._start]
            self._searched -= self._start
            self._start = 0
            self._buffer += more
            # There is no clock here: only the first wait is a long one.
            timeout_ms = 0


@dataclass(frozen=True)
class Datagram:
    """A datagram that came."""

    #: Who sent it: ``127.0.0.1:5514``.
    sender: str
    #: What it holds.
    data: bytes


class Datagrams(_Socket):
    """A socket for datagrams over UDP."""

    def __init__(self, address: str) -> None:
        """Listens at an address of this machine, as ``0.0.0.0:514``; port 0: any free one. Raises Fault."""
        super().__init__(host.current.bind(*_parts(address)))

    def receive(self, bytes_max: int, timeout_ms: int) -> Datagram:
        """The next datagram; what is longer than so many bytes is cut. Raises Fault."""
        return Datagram(*host.current.receive(self._number, bytes_max, timeout_ms))

    def send(self, address: str, data: bytes) -> None:
        """Sends a datagram to an address. Raises Fault."""
        host.current.send(self._number, *_parts(address), data)


def _parts(address: str) -> tuple[str, int]:
    """Host and port."""
    name, _, port = address.rpartition(":")
    if not name or not port.isdecimal() or int(port) > 65535:
        raise Fault(f"`{address}` is not an address; write it as `example.com:514`")
    return name, int(port)
