"""A Millstream plugin of world `source`: rows from elsewhere."""

from dataclasses import dataclass

from millstream import Arrivals, Polled, source
from millstream.net import Closed, Connection, Lines, TimedOut

TIMEOUT_MS = 10_000
"""How long the server may take to answer."""
LINE_BYTES_MAX = 1 << 20
"""A line that is longer is none."""


@dataclass
class Line:
    """A row that the plugin returns."""

    number: int
    text: str


@dataclass
class Config:
    """The source's `config`."""

    address: str
    """The server: `host:port`, as the job grants it."""


@source
class MyPlugin:
    """Reads lines from a server, which is told `FROM n` and sends its lines from number n on."""

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
                # The next poll hears of it again, and has no rows that would be lost.
                if not rows:
                    raise
                break
            try:
                rows.push(Line(self.next, line.decode()))
            except UnicodeDecodeError as error:
                rows.refuse(line, error)
            self.next += 1
            # Only the first line is waited for.
            wait_ms = 0
        return Polled.ready(b"%d" % self.next)
