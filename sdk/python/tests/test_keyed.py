"""Worlds `update`, `aggregate` and `cogroup`."""

import pathlib
import re
import unittest
from dataclasses import dataclass

from millstream import (
    Batch,
    Context,
    Field,
    InputError,
    InternalError,
    KeyedOut,
    Out,
    Rejection,
    Remove,
    Rows,
    Schema,
    Timers,
    aggregate,
    cogroup,
    migrate,
    testing,
    update,
)
from millstream import columns as of_columns
from millstream.migrate import Migrations
from millstream.plugin import MARK


@dataclass
class Payment:
    amount: int


@dataclass
class Total:
    total: int


@update
def totals(
    user: str, payments: Rows[Payment], old: Total | None, out: KeyedOut[Total], timers: Timers, context: Context
) -> Total | Remove:
    total = Total((old.total if old else 0) + sum(payment.amount for payment in payments))
    out.push(total)
    timers.set(context.time + 2_000_000)
    if user == "bad":
        raise Rejection("a bad user")
    if timers.due():
        out.emit(total=-len(timers.due()))
    return Remove() if total.total == 0 else total


@update
def counts(rows: Rows, out: KeyedOut[Total]) -> None:
    out.push(Total(len(rows)))


@update
def sums(amount: Rows[int], out: Out[Total]) -> Total:
    out.extend([min(amount), max(amount)])
    return Total(sum(amount))


@dataclass
class Sum:
    sum: int
    note: str | None = None


@migrate
def total_of_sum(old: Sum) -> Total:
    return Total(old.sum + len(old.note or ""))


class MigrateTest(unittest.TestCase):
    def states(self, *fields: Field) -> Schema:
        return Schema(list(fields))

    def test_states_are_converted_to_this_version(self) -> None:
        migration = getattr(total_of_sum, MARK).prepare()
        columns = [of_columns.write([1, 2], "sum", "int64", False), of_columns.write(["abc", None], "note", "text", True)]
        old = self.states(Field("sum", "int64", False), Field("note", "text", True))
        new = Migrations([migration]).migrate("0.1.0", old, Batch(2, columns, old))
        self.assertEqual(of_columns.read_all(new.columns, 2, [("total", "int64", False)]), [[4, 2]])
        other = self.states(Field("sum", "text", False))
        words = "states of version 0.1.0 have the columns .sum text.; expected .sum int64, note text."
        with self.assertRaisesRegex(InternalError, words):
            Migrations([migration]).migrate("0.1.0", other, Batch(0, [], other))

    def test_an_unsuitable_function_is_reported(self) -> None:
        @migrate
        def no_state(total: int) -> Total:
            return Total(total)

        @migrate
        def nothing(old: Sum) -> None:
            return None

        @migrate
        def forgets(old: Sum) -> Total:
            pass  # type: ignore[return]

        with self.assertRaisesRegex(InternalError, r"forgets\(\) returned None instead of Total: is a `return` missing"):
            forgets.__millstream__.prepare().migrate(testing.batch(Schema([Field("sum", "int64", False), Field("note", "text", True)]), [{"sum": 1}]))
        for function, words in [(no_state, "the parameter `total`"), (nothing, "it returns the new state: a row")]:
            with self.assertRaisesRegex(TypeError, words):
                getattr(function, MARK).prepare()


class UpdateTest(unittest.TestCase):
    def test_states_are_kept_removed_and_timed_out(self) -> None:
        test = testing.update(totals, key="user text")
        run = test.run([{"user": "a", "amount": 1}, {"user": "b", "amount": 2}, {"user": "a", "amount": 3}])
        self.assertEqual(run.rows, [{"user": "a", "total": 4}, {"user": "b", "total": 2}])
        test.run([{"user": "b", "amount": -2}])
        self.assertEqual(test.states, [{"user": "a", "total": 4}])
        self.assertEqual(test.time_out({"user": "a"}).rows[0], {"user": "a", "total": 4})
        self.assertEqual(test.states, [])

    def test_a_forgotten_return_is_an_error_and_removes_nothing(self) -> None:
        @update
        def forgets(payments: Rows[Payment], old: Total | None) -> Total | Remove:
            if len(payments) == 1:
                return Total(1)  # type: ignore[return]

        test = testing.update(forgets, key="user text")
        test.run([{"user": "a", "amount": 1}])
        words = r"forgets\(\) returned None instead of Total: is a `return` missing\? To remove the key, write `return Remove\(\)`\."
        with self.assertRaisesRegex(InternalError, words + r'\n  File ".*test_keyed\.py", line \d+, in forgets$') as failed:
            test.run([{"user": "a", "amount": 1}, {"user": "a", "amount": 2}])
        line = int(re.findall(r"line (\d+)", str(failed.exception))[0])
        self.assertIn("def forgets(", pathlib.Path(__file__).read_text().splitlines()[line - 1])
        self.assertEqual(test.states, [{"user": "a", "total": 1}])

    def test_none_removes_the_key_if_the_function_declares_it(self) -> None:
        @update
        def optional(payments: Rows[Payment], old: Total | None) -> Total | None:
            return None if old else Total(len(payments))

        test = testing.update(optional, key="user text")
        test.run([{"user": "a", "amount": 1}, {"user": "b", "amount": 2}])
        self.assertEqual(test.states, [{"user": "a", "total": 1}, {"user": "b", "total": 1}])
        test.run([{"user": "a", "amount": 1}])
        self.assertEqual(test.states, [{"user": "b", "total": 1}])

    def test_none_alone_is_not_a_state_type(self) -> None:
        def nothing(rows: Rows, old: Total | None) -> None: ...
        def only_removes(rows: Rows, old: Total | None) -> Remove: ...

        wrong = {
            nothing: "write `-> Total`, or `-> Total | Remove`",
            only_removes: "write `-> Total`, or `-> Total | Remove`",
        }
        for function, words in wrong.items():
            with self.assertRaisesRegex(TypeError, f"{function.__name__}.*{words}"):
                testing.update(update(function)).describe()

    def test_timers_call_keys_without_rows(self) -> None:
        test = testing.update(totals, key="user text")
        test.run([{"user": "a", "amount": 1}])
        self.assertEqual(test.run([]).rows, [])
        self.assertEqual(test.run([]).rows, [{"user": "a", "total": 1}, {"user": "a", "total": -1}])

    def test_a_rejected_key_keeps_its_state_and_returns_nothing(self) -> None:
        test = testing.update(totals, key="user text")
        run = test.run([{"user": "a", "amount": 1}, {"user": "bad", "amount": 2}, {"user": "bad", "amount": None}])
        self.assertEqual(run.rows, [{"user": "a", "total": 1}])
        self.assertEqual(run.rejected, [(1, "a bad user"), (2, "column `amount` is null")])
        self.assertEqual(test.states, [{"user": "a", "total": 1}])
        # Its timer is not set either.
        test.run([])
        self.assertNotIn("bad", [row["user"] for row in test.run([]).rows])

    def test_the_key_is_described_if_the_function_takes_it(self) -> None:
        said = testing.update(totals, key="user text").describe()
        self.assertEqual(str(said.key), "user text")
        self.assertEqual(str(said.output), "user text, total int64")
        self.assertEqual(str(said.state), "total int64")
        self.assertIsNone(testing.update(counts, key="user text").describe().key)

    def test_rows_of_any_columns_are_counted(self) -> None:
        run = testing.update(counts, key="user text").run([{"user": "a"}, {"user": "b"}, {"user": "a"}])
        self.assertEqual(run.rows, [{"user": "a", "total": 2}, {"user": "b", "total": 1}])

    def test_single_columns_of_the_rows(self) -> None:
        test = testing.update(sums, key="user text")
        run = test.run([{"user": "a", "amount": 5}, {"user": "a", "amount": None}, {"user": "a", "amount": 2}])
        self.assertEqual(run.rows, [{"total": 2}, {"total": 5}])
        self.assertEqual(run.rejected, [(1, "column `amount` is null")])
        self.assertEqual(test.states, [{"user": "a", "total": 7}])

    def test_groups_out_of_order_are_rejected(self) -> None:
        from millstream.plugin import group_bounds

        self.assertEqual(group_bounds(b"\x01\0\0\0\x03\0\0\0", 2, 3), ([0, 1], [1, 3]))
        with self.assertRaisesRegex(InternalError, "group 1 ends at row 4, which is out of order"):
            group_bounds(b"\x01\0\0\0\x04\0\0\0", 2, 3)


@aggregate
class Spread:
    """The range of amounts."""

    @dataclass
    class Range:
        low: int
        high: int

    def lift(self, amount: int) -> "Spread.Range":
        if amount < 0:
            raise Rejection("below zero")
        return Spread.Range(amount, amount)

    @staticmethod
    def combine(left: "Spread.Range", right: "Spread.Range") -> "Spread.Range":
        return Spread.Range(min(left.low, right.low), max(left.high, right.high))

    def lower(self, context: Context, user: str, range: "Spread.Range") -> Total:
        return Total(range.high - range.low + context.batch)


class AggregateTest(unittest.TestCase):
    def test_rows_are_reduced(self) -> None:
        rows = [{"user": "a", "amount": 5}, {"user": "b", "amount": 1}, {"user": "a", "amount": 2}]
        test = testing.aggregate(Spread, key="user text")
        self.assertEqual(test.run(rows).rows, [{"user": "a", "total": 4}, {"user": "b", "total": 1}])
        said = test.describe()
        self.assertEqual((str(said.key), said.inverse, said.doc), ("user text", False, "The range of amounts."))

    def test_the_call_fails_if_lift_rejects_a_row(self) -> None:
        test = testing.aggregate(Spread, key="user text")
        with self.assertRaisesRegex(InternalError, "row 1: below zero"):
            test.run([{"user": "a", "amount": 1}, {"user": "a", "amount": -1}])
        with self.assertRaisesRegex(InputError, "row 0: column `amount` is null"):
            test.run([{"user": "a"}])

    def test_a_forgotten_return_is_named(self) -> None:
        def forgets(step: str) -> type:
            class Sums:
                """Sums up."""

                def lift(self, amount: int) -> Total:
                    if step != "lift":
                        return Total(amount)  # type: ignore[return]

                def combine(self, left: Total, right: Total) -> Total:
                    if step != "combine":
                        return Total(left.total + right.total)  # type: ignore[return]

                def lower(self, sum: Total) -> Total:
                    if step != "lower":
                        return sum  # type: ignore[return]

            return aggregate(Sums)

        for step in ("lift", "combine", "lower"):
            words = rf'{step}\(\) returned None instead of Total: is a `return` missing\?\n  File ".*", line \d+, in {step}$'
            with self.assertRaisesRegex(InternalError, words):
                testing.aggregate(forgets(step), key="user text").run([{"user": "a", "amount": 1}] * 2)

    def test_a_missing_method_is_named(self) -> None:
        @aggregate
        class Half:
            def lift(self, amount: int) -> Total:
                return Total(amount)

        with self.assertRaisesRegex(TypeError, "Half: the method `combine` is missing"):
            testing.aggregate(Half).describe()


@cogroup
def balance(orders: Rows[Payment], clicks: Rows, out: KeyedOut[Total]) -> None:
    if len(clicks) > 2:
        raise Rejection("too many clicks")
    out.push(Total(sum(order.amount for order in orders) + len(clicks)))


@cogroup
def users(user: str, orders: Rows[Payment], clicks: Rows) -> list[str]:
    return [user] * len(clicks)


class CogroupTest(unittest.TestCase):
    def test_several_inputs_are_grouped_by_key(self) -> None:
        orders = [{"user": "a", "amount": 5}, {"user": "c", "amount": 1}, {"user": "a"}]
        clicks = [{"user": name} for name in "abccc"]
        run = testing.cogroup(balance, key="user text").run([orders, clicks])
        self.assertEqual(run.rows, [{"user": "a", "total": 6}, {"user": "b", "total": 1}])
        # Sorted by key: the rows of `a` are orders 0 and 1. The clicks are counted after all three orders.
        many = "too many clicks"
        self.assertEqual(run.rejected, [(1, "column `amount` is null"), (2, many), (4, many), (5, many), (6, many)])

    def test_rows_may_be_returned(self) -> None:
        run = testing.cogroup(users, key="user text").run([[], [{"user": "b"}, {"user": "b"}]])
        self.assertEqual(run.rows, [{"users": "b"}, {"users": "b"}])

    def test_a_forgotten_return_is_an_error(self) -> None:
        @cogroup
        def forgets(orders: Rows[Payment], clicks: Rows) -> list[Total]:
            pass  # type: ignore[return]

        with self.assertRaisesRegex(InternalError, r"forgets\(\) returned None instead of rows: is a `return` missing"):
            testing.cogroup(forgets, key="user text").run([[{"user": "a", "amount": 1}], []])


if __name__ == "__main__":
    unittest.main()
