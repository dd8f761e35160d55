"""A Millstream plugin of world `sink`: writes rows to an external system."""

from dataclasses import dataclass

from millstream import ConfigError, Departures, Identity, InternalError, Owner, sink
from millstream.net import Connection, Lines

TIMEOUT_MS = 5_000
"""Maximum time to wait for a reply of the server."""
LINE_BYTES_MAX = 1 << 10
"""Maximum length of a line from the server. A longer line is an error."""
SENT_BYTES_MAX = 1 << 16
"""Size at which buffered rows are sent, in bytes."""


@dataclass
class Entry:
    """An input row."""

    name: str
    amount: float


@dataclass
class Config:
    """The sink's `config`."""

    address: str
    """Address of the server, `host:port`. The job must grant the same address."""


@sink
class MyPlugin:
    """Writes entries to a server. The server stores the entries of a batch and the batch ID atomically."""

    promise = "exactly-once"

    @staticmethod
    def committed(config: Config, identity: Identity) -> int | None:
        return Server(config.address).ask(f"LAST {identity.job_id}/{identity.sink}")

    def open(self, config: Config, owner: Owner) -> int | None:
        self.server = Server(config.address)
        self.buffer = b""
        # From now on, the server rejects writers with a smaller generation.
        return self.server.ask(f"OPEN {owner.identity.job_id}/{owner.identity.sink} {owner.generation}")

    def begin(self, batch: int) -> None:
        self.buffer = b"BEGIN %d\n" % batch

    def write(self, rows: Departures[Entry]) -> None:
        for index, entry in rows.entries():
            if len(entry.name.split()) != 1:
                rows.refuse(index, "a name is one word")
                continue
            self.buffer += f"ROW {entry.name} {entry.amount:g}\n".encode()
            if len(self.buffer) >= SENT_BYTES_MAX:
                self.server.send(self.buffer)
                self.buffer = b""

    def commit(self, batch: int) -> None:
        self.server.send(self.buffer)
        if self.server.ask(f"COMMIT {batch}") != batch:
            # The error may be transient: the host calls `committed` again and then retries.
            raise InternalError("the server has not kept the batch")


class Server:
    """A connection to the server. The server replies `LAST n`, or `LOST` if a later start has taken over the sink."""

    def __init__(self, address: str) -> None:
        self.lines = Lines(Connection(address, TIMEOUT_MS), LINE_BYTES_MAX)

    def send(self, data: bytes) -> None:
        self.lines.connection.write(data, TIMEOUT_MS)

    def ask(self, line: str) -> int | None:
        """Sends a line. Returns the last batch that the server has stored."""
        self.send(f"{line}\n".encode())
        word, _, batch = self.lines.next(TIMEOUT_MS).decode(errors="replace").partition(" ")
        if word == "LOST":
            # A retry would take over the sink again, so this error must stop the job.
            raise ConfigError("a later start of the job has taken over the sink")
        if word != "LAST" or not batch.isdecimal():
            raise InternalError(f"the server replied {word!r} {batch!r}")
        return int(batch) or None
