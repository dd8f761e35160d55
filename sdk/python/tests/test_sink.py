"""Sinks."""

import unittest
from dataclasses import dataclass
from typing import Any

from millstream import ConfigError, Departures, Identity, InputError, Owner, Schema, Timestamp, sink, testing


@dataclass
class Entry:
    name: str
    amount: int


@dataclass
class Config:
    loose: bool = False
    last: int = 0


calls: list[Any] = []


@sink
class Ledger:
    """Entries."""

    @staticmethod
    def check(config: Config) -> None:
        if config.last < 0:
            raise ConfigError("there is no such batch")

    @staticmethod
    def promise(config: Config) -> str:
        return "at-least-once" if config.loose else "exactly-once"

    @staticmethod
    def committed(config: Config, identity: Identity) -> int | None:
        calls.append(identity)
        return config.last

    def open(self, config: Config, owner: Owner) -> int | None:
        calls.append(owner.generation)
        return config.last or None

    def begin(self, time: Timestamp, batch: int) -> None:
        calls.append((batch, time))

    def write(self, rows: Departures[Entry]) -> None:
        for place, entry in rows.entries():
            if entry.amount < 0:
                rows.refuse(place, ValueError("it is owed"))
        calls.append((len(rows), list(rows)))

    def commit(self, batch: int) -> None:
        calls.append(batch)


@sink
class Anything:
    """Rows of any columns."""

    promise = "at-least-once"

    @staticmethod
    def reads(config: dict, input: Schema) -> Schema:
        return Schema([input.field(name) for name in config["names"]])

    def open(self, input: Schema) -> None:
        calls.append(str(input))

    def write(self, rows: Departures[dict]) -> None:
        calls.extend(rows)

    def commit(self) -> None:
        pass


class SinkTest(unittest.TestCase):
    def setUp(self) -> None:
        calls.clear()

    def test_a_sink_receives_its_batches_and_reports_rejected_rows(self) -> None:
        own = testing.sink(Ledger)
        said = own.describe()
        self.assertEqual((said.doc, str(said.input), own.promise()), ("Entries.", "name text, amount int64", "exactly-once"))
        self.assertEqual(testing.sink(Ledger, config={"loose": True}).promise(), "at-least-once")
        self.assertIsNone(own.committed("id"))
        writing = own.open("id", 7)
        self.assertIsNone(writing.last)
        refused = writing.batch(4, [{"name": "a", "amount": 1}, {"name": "b", "amount": -1}, {"name": None, "amount": 2}])
        self.assertEqual(refused, [(1, "it is owed"), (2, "column `name` is null")])
        writing.begun(5, [])
        first, second = (4, Timestamp(4_000_000)), (5, Timestamp(5_000_000))
        self.assertEqual(calls, [Identity("test", "id", "out"), 7, first, (3, [Entry("a", 1)]), 4, second, (0, [])])
        later = testing.sink(Ledger, config={"last": 9})
        self.assertEqual((later.committed(), later.open().last), (9, 9))
        with self.assertRaisesRegex(ConfigError, "there is no such batch"):
            testing.sink(Ledger, config={"last": -1}).open()
        with self.assertRaisesRegex(ConfigError, "unknown field `lost`"):
            testing.sink(Ledger, config={"lost": 1}).describe()

    def test_rows_of_any_columns_are_dicts(self) -> None:
        own = testing.sink(Anything, config={"names": ["b", "a"]}, input="a int64, b text, c bool")
        self.assertEqual(own.open().batch(1, [{"a": 1, "b": None, "c": True}]), [])
        self.assertEqual(calls, ["b text, a int64", {"b": None, "a": 1}])
        with self.assertRaisesRegex(InputError, "no column `d`"):
            testing.sink(Anything, config={"names": ["d"]}, input="a int64").describe()

    def test_errors_name_the_method(self) -> None:
        class NoPromise:
            def open(self) -> None: ...
            def write(self, rows: Departures[Entry]) -> None: ...
            def commit(self) -> None: ...

        class NoRows(NoPromise):
            promise = "at-least-once"

            def write(self, rows: list) -> None: ...

        class NoCommitted(NoPromise):
            promise = "exactly-once"

        class ReadsTwice(NoPromise):
            promise = "at-least-once"

            @staticmethod
            def reads(input: Schema) -> Schema:
                return input

        class Behind(NoPromise):
            promise = "at-least-once"

            def write(self, rows: Departures[Entry]) -> None:
                rows.refuse(1, "")

        for cls, words in [
            (NoPromise, "its attribute `promise` is 'exactly-once' or 'at-least-once'"),
            (NoRows, r"write\(\): `rows` is `Departures\[Row\]`"),
            (NoCommitted, "must have a method `committed`"),
            (ReadsTwice, r"its rows have the columns of Entry"),
        ]:
            with self.assertRaisesRegex(TypeError, words):
                testing.sink(sink(cls)).describe()
        with self.assertRaisesRegex(IndexError, "row 1 is rejected, but there are 1 rows"):
            testing.sink(sink(Behind)).open().batch(1, [{"name": "", "amount": 1}])


if __name__ == "__main__":
    unittest.main()
