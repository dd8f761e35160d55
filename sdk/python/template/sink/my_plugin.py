"""A Millstream plugin of world `sink`: rows that leave for elsewhere."""

from dataclasses import dataclass

from millstream import ConfigError, Departures, Identity, InternalError, Owner, sink
from millstream.net import Connection, Lines

TIMEOUT_MS = 5_000
"""How long the server may take to answer."""
LINE_BYTES_MAX = 1 << 10
"""A line of the server that is longer is none."""
SENT_BYTES_MAX = 1 << 16
"""Bytes that are sent at a time."""


@dataclass
class Entry:
    """A row that the plugin reads."""

    name: str
    amount: float


@dataclass
class Config:
    """The sink's `config`."""

    address: str
    """The server: `host:port`, as the job grants it."""


@sink
class MyPlugin:
    """Writes entries to a server that keeps them, and the id of the batch that they came with, together."""

    promise = "exactly-once"

    @staticmethod
    def committed(config: Config, identity: Identity) -> int | None:
        return Server(config.address).ask(f"LAST {identity.job_id}/{identity.sink}")

    def open(self, config: Config, owner: Owner) -> int | None:
        self.server = Server(config.address)
        self.buffer = b""
        # From now on the server takes nothing from those who came with a smaller number.
        return self.server.ask(f"OPEN {owner.identity.job_id}/{owner.identity.sink} {owner.generation}")

    def begin(self, batch: int) -> None:
        self.buffer = b"BEGIN %d\n" % batch

    def write(self, rows: Departures[Entry]) -> None:
        for place, entry in rows.entries():
            if len(entry.name.split()) != 1:
                rows.refuse(place, "a name is one word")
                continue
            self.buffer += f"ROW {entry.name} {entry.amount:g}\n".encode()
            if len(self.buffer) >= SENT_BYTES_MAX:
                self.server.send(self.buffer)
                self.buffer = b""

    def commit(self, batch: int) -> None:
        self.server.send(self.buffer)
        if self.server.ask(f"COMMIT {batch}") != batch:
            # It passes, perhaps: the host asks again what is there, and tries again.
            raise InternalError("the server has not kept the batch")


class Server:
    """A connection to the server, which answers `LAST n`, or `LOST` to those who have lost the sink."""

    def __init__(self, address: str) -> None:
        self.lines = Lines(Connection(address, TIMEOUT_MS), LINE_BYTES_MAX)

    def send(self, data: bytes) -> None:
        self.lines.connection.write(data, TIMEOUT_MS)

    def ask(self, line: str) -> int | None:
        """Says something, and hears of the last batch that is there."""
        self.send(f"{line}\n".encode())
        word, _, batch = self.lines.next(TIMEOUT_MS).decode(errors="replace").partition(" ")
        if word == "LOST":
            # It would only take the sink back.
            raise ConfigError("a later start of the job has taken the sink over")
        if word != "LAST" or not batch.isdecimal():
            raise InternalError(f"the server says {word!r} {batch!r}")
        return int(batch) or None
