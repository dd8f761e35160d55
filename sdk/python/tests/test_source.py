"""Sources, connections and datagrams."""

import os
import socket
import unittest
from dataclasses import dataclass

from millstream import Arrivals, ConfigError, InternalError, Polled, source, testing
from millstream.net import Closed, Connection, Datagrams, Fault, Lines, TimedOut

SHORT_MS, LONG_MS = 20, 10_000


@dataclass
class Number:
    n: int
    of: str


@dataclass
class Config:
    up_to: int


@source
class Numbers:
    """Numbers, but for sevens."""

    @staticmethod
    def check(config: Config) -> None:
        if config.up_to < 0:
            raise ConfigError("there are no such numbers")

    @staticmethod
    def partitions(config: Config) -> list[str]:
        return ["a", "b"]

    def open(self, config: Config, partition: str, position: bytes | None) -> None:
        self.next, self.up_to, self.of = int(position or b"0"), config.up_to, partition
        self.durable_positions: list[bytes] = []

    def poll(self, rows: Arrivals[Number], wait_ms: int) -> Polled:
        while self.next < self.up_to and rows.left:
            if self.next % 10 == 7:
                rows.refuse(b"7", "a seven")
            elif self.next % 2:
                rows.push(Number(self.next, self.of))
            else:
                rows.emit(self.next, of=self.of)
            self.next += 1
        position = b"%d" % self.next
        if self.next == self.up_to:
            return Polled.ended(position)
        return Polled.ready(position) if rows else Polled.pause(wait_ms, position)

    def durable(self, position: bytes) -> None:
        self.durable_positions.append(position)


class SourceTest(unittest.TestCase):
    def test_resumes_at_its_position(self) -> None:
        test = testing.source(Numbers, config={"up_to": 9})
        said = test.describe()
        self.assertEqual((said.doc, str(said.output)), ("Numbers, but for sevens.", "n int64, of text"))
        self.assertIn('"up_to"', said.config_schema)
        self.assertEqual(test.partitions(), ["a", "b"])
        first = test.open("a").poll(6)
        self.assertEqual((len(first.rows), first.pause_ms), (6, 0))
        again = test.open("b", first.position)
        rest = again.poll(6)
        self.assertEqual(rest.rows, [{"n": 6, "of": "b"}, {"n": 8, "of": "b"}])
        self.assertEqual((rest.refused, rest.position, rest.pause_ms), ([(b"7", "a seven")], b"9", None))
        again.durable(b"any")
        again.published(b"any")
        self.assertEqual(again.reader.durable_positions, [b"any"])
        for config, words in [({"up_to": -1}, "no such numbers"), ({"upto": 1}, "unknown field `upto`")]:
            with self.assertRaisesRegex(ConfigError, words):
                testing.source(Numbers, config=config).describe()

    def test_has_one_partition_and_no_config_by_default(self) -> None:
        @source
        class Three:
            """Three rows."""

            def open(self) -> None:
                pass

            def poll(self, rows: Arrivals[Number], wait_ms: int) -> Polled:
                for n in range(3):
                    rows.emit(n, "")
                return Polled.ready()

        test = testing.source(Three)
        self.assertEqual(test.partitions(), [""])
        self.assertEqual(len(test.open().poll(3).rows), 3)
        with self.assertRaisesRegex(InternalError, "3 rows, including rejected ones, but at most 2"):
            test.open().poll(2)
        with self.assertRaisesRegex(ConfigError, "takes no config"):
            testing.source(Three, config={"a": 1}).describe()

    def test_errors_name_the_method(self) -> None:
        class NoPoll:
            def open(self) -> None:
                pass

        class Unknown(NoPoll):
            def poll(self, rows: Arrivals[Number], wait: int) -> Polled:
                return Polled.ready()

        class NoRow(NoPoll):
            def poll(self, rows: Arrivals[int], wait_ms: int) -> Polled:
                return Polled.ready()

        class TwoConfigs(NoPoll):
            def check(self, config: dict) -> None:  # type: ignore[type-arg]
                pass

            def open(self, config: Config) -> None:  # type: ignore[override]
                pass

            def poll(self, rows: Arrivals[Number], wait_ms: int) -> Polled:
                return Polled.ready()

        for own, words in [
            (NoPoll, "has the method `poll`"),
            (Unknown, r"Unknown.poll\(\): unknown parameter `wait`; it may take: rows, wait_ms"),
            (NoRow, r"`rows` is `Arrivals\[Row\]`"),
            (TwoConfigs, r"check\(\): `config` is of another type elsewhere"),
        ]:
            with self.assertRaisesRegex(TypeError, words):
                testing.source(source(own)).describe()

    def test_a_wrong_value_or_a_missing_result_is_an_error(self) -> None:
        @source
        class Wrong:
            """Wrong."""

            def open(self, config: dict) -> None:  # type: ignore[type-arg]
                self.what = config["what"]

            def poll(self, rows: Arrivals[Number], wait_ms: int) -> Polled:
                if self.what == "value":
                    rows.emit("1", "")
                if self.what == "fields":
                    rows.emit(1)
                if self.what == "nothing":
                    return None  # type: ignore[return-value]
                return Polled.ready()

        for what, words in [
            ("value", "field `n` is int64, not '1'"),
            ("fields", "a row of Number is made of: n, of"),
            ("nothing", "returned None instead of Polled.ready"),
        ]:
            with self.assertRaisesRegex(TypeError, words):
                testing.source(Wrong, config={"what": what}).open().poll()


class NetTest(unittest.TestCase):
    def test_lines_are_complete_however_they_are_sent(self) -> None:
        server = socket.create_server(("127.0.0.1", 0))
        connection = Connection(f"127.0.0.1:{server.getsockname()[1]}", LONG_MS)
        other, _ = server.accept()
        lines = Lines(connection, 10)
        with self.assertRaises(TimedOut):
            lines.next(SHORT_MS)
        other.sendall(b"one\r\n\ntw")
        self.assertEqual([lines.next(LONG_MS), lines.next(LONG_MS)], [b"one", b""])
        with self.assertRaises(TimeoutError):
            lines.next(SHORT_MS)
        other.sendall(b"o\nthree")
        self.assertEqual(lines.next(LONG_MS), b"two")
        lines.connection.write(b"thanks", LONG_MS)
        self.assertEqual(other.recv(6, socket.MSG_WAITALL), b"thanks")
        other.sendall(b" and more")
        with self.assertRaisesRegex(Fault, "a line of more than 10 bytes"):
            while True:
                try:
                    lines.next(LONG_MS)
                except TimedOut:
                    pass
        other.close()
        with self.assertRaises(Closed):
            connection.read(9, LONG_MS)
        connection.close()
        with self.assertRaises(Closed):
            connection.write(b"x", LONG_MS)
        server.close()

    def test_datagrams_are_sent_and_received(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own, Datagrams("127.0.0.1:0") as datagrams:
            own.bind(("127.0.0.1", 0))
            address = "%s:%d" % own.getsockname()
            with self.assertRaises(TimedOut):
                datagrams.receive(9, SHORT_MS)
            datagrams.send(address, b"ping")
            data, sender = own.recvfrom(9)
            self.assertEqual(data, b"ping")
            own.sendto(b"a long answer", sender)
            came = datagrams.receive(6, LONG_MS)
            self.assertEqual((came.sender, came.data), (address, b"a long"))

    def test_an_address_is_a_name_and_a_port(self) -> None:
        for address in ["nowhere", ":1", "host:", "host:x", "host:65536"]:
            with self.assertRaisesRegex(Fault, "is not an address"):
                Connection(address, SHORT_MS)
        with socket.create_server(("127.0.0.1", 0)) as server:
            free = server.getsockname()[1]
        with self.assertRaisesRegex(OSError, os.strerror(111)):
            Connection(f"127.0.0.1:{free}", LONG_MS)


if __name__ == "__main__":
    unittest.main()
