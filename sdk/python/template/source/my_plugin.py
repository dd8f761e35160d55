"""A Millstream plugin of world `source`: reads rows from an external system."""

from dataclasses import dataclass

from millstream import Arrivals, Polled, source
from millstream.net import Closed, Connection, Lines, TimedOut

TIMEOUT_MS = 10_000
"""Maximum time to wait for a reply of the server."""
LINE_BYTES_MAX = 1 << 20
"""Maximum length of a line. A longer line is an error."""


@dataclass
class Line:
    """An output row."""

    number: int
    text: str


@dataclass
class Config:
    """The source's `config`."""

    address: str
    """Address of the server, `host:port`. The job must grant the same address."""


@source
class MyPlugin:
    """Reads lines from a server. After `FROM n`, the server sends its lines from number n on."""

    def open(self, config: Config, position: bytes | None) -> None:
        # The position of the partition is the number of the next line.
        self.next = int(position) if position else 0
        connection = Connection(config.address, TIMEOUT_MS)
        connection.write(b"FROM %d\n" % self.next, TIMEOUT_MS)
        self.lines = Lines(connection, LINE_BYTES_MAX)

    def poll(self, rows: Arrivals[Line], wait_ms: int) -> Polled:
        while rows.left > 0:
            try:
                line = self.lines.next(wait_ms)
            except TimedOut:
                break
            except Closed:
                # Return the rows first. The next poll receives the same error and has no rows to lose.
                if not rows:
                    raise
                break
            try:
                rows.push(Line(self.next, line.decode()))
            except UnicodeDecodeError as error:
                rows.refuse(line, error)
            self.next += 1
            # Wait only for the first line.
            wait_ms = 0
        return Polled.ready(b"%d" % self.next)
