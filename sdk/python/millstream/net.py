"""TCP connections and UDP datagrams to addresses that the job grants: ``grant = { tcp = ["host:port"] }`` and ``udp = ["host:port"]``.
Worlds ``source`` and ``sink`` only.

Each call waits at most for its timeout and can then be repeated. In tests, the sockets are the machine's, and all are allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

from . import host

#: Maximum bytes per read.
_READ_BYTES = 1 << 16


class Fault(OSError):
    """A failed operation: not granted, connection refused, unknown host."""


class TimedOut(Fault, TimeoutError):
    """The operation did not finish within the timeout. No data is lost: repeat the call."""


class Closed(Fault, ConnectionError):
    """The peer has closed the connection."""


class _Socket:
    """A socket, open until `close` or the end of a ``with`` block."""

    def __init__(self, number: int) -> None:
        self._number = number

    def close(self) -> None:
        """Closes the socket. Does nothing if it is closed."""
        host.current.close(self._number)

    def __enter__(self):  # type: ignore[no-untyped-def]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Connection(_Socket):
    """A TCP connection."""

    def __init__(self, address: str, timeout_ms: int) -> None:
        """Connects to an address, for example ``example.com:514`` or ``[::1]:514``. Raises Fault."""
        super().__init__(host.current.connect(*_parts(address), timeout_ms))

    def read(self, bytes_max: int, timeout_ms: int) -> bytes:
        """Reads the available bytes: at least one, at most ``bytes_max``. Waits for the first one. Raises Fault."""
        return host.current.read(self._number, bytes_max, timeout_ms)

    def write(self, data: bytes, timeout_ms: int) -> None:
        """Writes all bytes. After a `TimedOut`, some of them may have been sent. Raises Fault."""
        host.current.write(self._number, data, timeout_ms)


class Lines:
    """The lines received over a connection, each complete."""

    def __init__(self, connection: Connection, line_bytes_max: int) -> None:
        #: The connection, for writing.
        self.connection = connection
        self._line_bytes_max = line_bytes_max
        self._buffer = bytearray()
        #: Start of the next line, and the index up to which it is searched for its end.
        self._start = self._searched = 0

    def next(self, timeout_ms: int) -> bytes:
        """Returns the next line without its end (``\\n`` or ``\\r\\n``). Waits at most ``timeout_ms`` for more bytes.

        A partial line is kept for the next call. If the connection ends within a line, that line is dropped. Raises Fault, also for a
        line that exceeds ``line_bytes_max``.
        """
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
            # There is no clock here, so only the first wait uses the timeout.
            timeout_ms = 0


@dataclass(frozen=True)
class Datagram:
    """A received datagram."""

    #: Address of the sender, for example ``127.0.0.1:5514``.
    sender: str
    #: Payload.
    data: bytes


class Datagrams(_Socket):
    """A UDP socket."""

    def __init__(self, address: str) -> None:
        """Listens on an address of this machine, for example ``0.0.0.0:514``. Port 0 is any free port. Raises Fault."""
        super().__init__(host.current.bind(*_parts(address)))

    def receive(self, bytes_max: int, timeout_ms: int) -> Datagram:
        """Receives the next datagram. A longer one is truncated to ``bytes_max``. Raises Fault."""
        return Datagram(*host.current.receive(self._number, bytes_max, timeout_ms))

    def send(self, address: str, data: bytes) -> None:
        """Sends a datagram to an address. Raises Fault."""
        host.current.send(self._number, *_parts(address), data)


def _parts(address: str) -> tuple[str, int]:
    """Splits an address into host and port."""
    name, _, port = address.rpartition(":")
    if not name or not port.isdecimal() or int(port) > 65535:
        raise Fault(f"`{address}` is not an address; write it as `example.com:514`")
    return name, int(port)
