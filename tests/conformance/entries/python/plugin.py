"""Writes entries to a server that stores each batch once."""

from dataclasses import dataclass

from millstream import (
    ConfigError,
    Departures,
    Identity,
    InputError,
    InternalError,
    Owner,
    Promise,
    Timestamp,
    log,
    sink,
)
from millstream.net import Connection, Lines

TIMEOUT_MS = 2000
LINE_BYTES_MAX = 1000
SENT_BYTES_MAX = 1 << 16


@dataclass
class Config:
    address: str
    loose: bool = False


@dataclass
class Entry:
    seq: int
    text: str
    half: int | None


@sink
class Entries:
    """Writes entries to a server that stores each batch once."""

    @staticmethod
    def check(config: Config) -> None:
        if not config.address:
            raise ConfigError("`address` is empty")

    @staticmethod
    def promise(config: Config) -> Promise:
        return "at-least-once" if config.loose else "exactly-once"

    @staticmethod
    def committed(config: Config, identity: Identity) -> int | None:
        if config.loose:
            return None
        return held(connect(config.address), f"ASK {identity.job_id}/{identity.sink}\n")

    def open(self, config: Config, owner: Owner) -> int | None:
        own, last = owner.identity, None
        self.lines, self.buffer = connect(config.address), b""
        if config.loose:
            self.lines.connection.write(b"LOOSE\n", TIMEOUT_MS)
        else:
            last = held(self.lines, f"OPEN {own.job_id}/{own.sink} {owner.generation}\n")
        log.info(f"{own.job}/{own.sink} is opened at {last or 0}")
        return last

    def begin(self, batch: int, time: Timestamp) -> None:
        self.buffer = b"BEGIN %d %d\n" % (batch, time)

    def write(self, rows: Departures[Entry]) -> None:
        for index, entry in rows.entries():
            match entry.text:
                case "wrong":
                    rows.refuse(index, f"entry {entry.seq} is wrong")
                case "wrong config":
                    raise ConfigError("the config does not fit")
                case "wrong input":
                    raise InputError("the rows do not fit")
                case "mistake":
                    raise ValueError("cannot write `mistake`")
                case text:
                    half = "-" if entry.half is None else entry.half
                    self.buffer += f"ROW {entry.seq} {half} {text}\n".encode()
            if len(self.buffer) > SENT_BYTES_MAX:
                self.send()

    def commit(self, batch: int) -> None:
        self.buffer += b"COMMIT %d\n" % batch
        self.send()
        answer = self.lines.next(TIMEOUT_MS)
        if answer != b"DONE":
            raise said(answer)

    def send(self) -> None:
        self.lines.connection.write(self.buffer, TIMEOUT_MS)
        self.buffer = b""


def connect(address: str) -> Lines:
    return Lines(Connection(address, TIMEOUT_MS), LINE_BYTES_MAX)


def held(lines: Lines, question: str) -> int | None:
    """Returns the last stored batch, from the server's reply."""
    lines.connection.write(question.encode(), TIMEOUT_MS)
    answer = lines.next(TIMEOUT_MS)
    word, _, batch = answer.partition(b" ")
    if word != b"HELD" or not batch.isdigit():
        raise said(answer)
    return int(batch) or None


def said(answer: bytes) -> Exception:
    if answer == b"LOST":
        return ConfigError("a later start of the job has taken over the sink")
    return InternalError(f"the server replied {answer!r}")
