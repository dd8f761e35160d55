"""Reads lines from servers, and datagrams."""

from dataclasses import dataclass

from millstream import Arrivals, ConfigError, InternalError, Polled, log, source
from millstream.net import Closed, Connection, Datagrams, Lines, TimedOut

TIMEOUT_MS = 2000
LINE_BYTES_MAX = 1000


@dataclass
class Config:
    addresses: list[str]


@dataclass
class Line:
    seq: int
    text: str
    half: int | None


def line_of(seq: int, text: str) -> Line:
    return Line(seq, text, seq // 2 if seq % 2 == 0 else None)


@source
class Reader:
    @staticmethod
    def check(config: Config) -> None:
        if not config.addresses:
            raise ConfigError("`addresses` is empty")

    @staticmethod
    def partitions(config: Config) -> list[str]:
        return config.addresses

    def open(self, config: Config, partition: str, position: bytes | None) -> None:
        self.lines: Lines | None = None
        if partition.startswith("udp:"):
            self.datagrams = Datagrams(partition.removeprefix("udp:"))
            return
        self.next = int(position or b"0")
        connection = Connection(partition, TIMEOUT_MS)
        connection.write(b"FROM %d\n" % self.next, TIMEOUT_MS)
        log.info(f"{partition} is opened at {self.next}")
        self.lines = Lines(connection, LINE_BYTES_MAX)

    def poll(self, rows: Arrivals[Line], wait_ms: int) -> Polled:
        if self.lines is None:
            return self.poll_datagrams(rows, wait_ms)
        while rows.left:
            try:
                line = self.lines.next(wait_ms)
            except TimedOut:
                break
            except Closed:
                if not rows:
                    raise
                break
            if line == b"END":
                return Polled.ended(b"%d" % self.next)
            self.take(rows, line)
            self.next += 1
            wait_ms = 0
        return Polled.ready(b"%d" % self.next) if rows else Polled.ready()

    def take(self, rows: Arrivals[Line], line: bytes) -> None:
        try:
            number, _, text = line.decode().partition(" ")
            seq = int(number)
        except ValueError:
            rows.refuse(line, "expected a number and a message")
            return
        if seq != self.next:
            raise InternalError(f"got line {seq} instead of line {self.next}")
        if text == "wrong config":
            raise ConfigError("the config does not fit")
        if text == "mistake":
            raise KeyError("cannot read `mistake`")
        rows.push(line_of(seq, text))

    def poll_datagrams(self, rows: Arrivals[Line], wait_ms: int) -> Polled:
        try:
            datagram = self.datagrams.receive(4, wait_ms)
        except TimedOut:
            return Polled.pause(1)
        rows.push(line_of(len(datagram.data), datagram.data.decode()))
        return Polled.ready()

    def durable(self, position: bytes) -> None:
        self.tell(b"ACK ", position)

    def published(self, position: bytes) -> None:
        self.tell(b"DONE ", position)

    def tell(self, word: bytes, position: bytes) -> None:
        if self.lines is not None:
            self.lines.connection.write(word + position + b"\n", TIMEOUT_MS)
