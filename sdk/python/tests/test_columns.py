"""Columns: writing and reading every type, including nulls, returns the same values."""

import unittest
from array import array
from dataclasses import dataclass
from datetime import datetime, timezone

from millstream import Batch, InputError, InternalError, Timestamp, columns
from millstream.columns import Column

VALUES = {
    "bool": [True, False, True, True, False, False, True, False, True],
    "int64": [0, -1, 2**63 - 1, -(2**63)],
    "float64": [0.5, -0.0, float("inf")],
    "text": ["", "ab", "äöü €", "𝄞", "z" * 1000],
    "binary": [b"", b"\x00\xff", b"z"],
    "timestamp": [Timestamp(0), Timestamp(-1), Timestamp(1_700_000_000_000_000)],
}


class ColumnsTest(unittest.TestCase):
    def test_values_are_unchanged(self) -> None:
        for kind, values in VALUES.items():
            column = columns.write(values, "x", kind, False)
            self.assertEqual(columns.read(column, len(values), kind, False), values, kind)
            self.assertIsNone(column.validity)

    def test_nulls_are_unchanged(self) -> None:
        for kind, values in VALUES.items():
            given = [None, *values, None]
            column = columns.write(given, "x", kind, True)
            self.assertEqual(columns.read(column, len(given), kind, True), given, kind)

    def test_layout_is_arrows(self) -> None:
        column = columns.write(["ab", None, "ü"], "x", "text", True)
        self.assertEqual(column.data, "abü".encode())
        self.assertEqual(column.offsets, array("i", [0, 2, 2, 4]).tobytes())
        self.assertEqual(column.validity, bytes([0b101]))
        self.assertEqual(columns.bitmap([True, False, False, True] * 3), bytes([0b10011001, 0b1001]))

    def test_no_rows_need_no_offsets(self) -> None:
        self.assertEqual(columns.read(Column(b"", offsets=b""), 0, "text", False), [])

    def test_values_of_another_type_are_named(self) -> None:
        wrong = [("int64", "7"), ("int64", 2**63), ("float64", "x"), ("text", 7), ("text", None), ("bool", 1), ("binary", "a")]
        for kind, value in wrong:
            with self.assertRaisesRegex(InternalError, f"field `x` is {kind}, not "):
                columns.write([value], "x", kind, False)

    def test_buffers_that_are_too_short_are_rejected(self) -> None:
        for kind in VALUES:
            offsets = b"\0\0\0\0" if kind in ("text", "binary") else None
            with self.assertRaisesRegex(InputError, r"column `x` \(number 0\): its .* too short"):
                columns.read_all([Column(b"", offsets)], 1, [("x", kind, False)])
        with self.assertRaisesRegex(InputError, "it is missing"):
            columns.read_all([], 1, [("x", "bool", False)])

    def test_timestamps_are_times(self) -> None:
        at = datetime(2024, 2, 29, 12, 0, 0, 5, tzinfo=timezone.utc)
        self.assertEqual(Timestamp.of(at), 1_709_208_000_000_005)
        self.assertEqual(Timestamp.of(at).datetime(), at)


@dataclass
class Reading:
    name: str
    value: float | None
    count: int
    ok: bool


class BatchTest(unittest.TestCase):
    def batch(self) -> Batch[Reading]:
        return Batch.of(Reading, name=["a", "ü"], value=[None, 1.5], count=array("q", [1, 2]), ok=[True, False])

    def test_columns_are_views(self) -> None:
        batch = self.batch()
        self.assertEqual(batch.column("count").format, "q")
        self.assertEqual(batch.column("count").tolist(), [1, 2])
        self.assertIs(batch.column("count").obj, batch.columns[2].data)
        self.assertEqual(list(batch.column("name")), ["a", "ü"])
        self.assertEqual(batch.column("name")[-1], "ü")
        self.assertEqual(batch.column("ok"), [True, False])
        self.assertEqual(batch.values("value"), [None, 1.5])
        self.assertEqual(batch.nulls("value"), [True, False])
        self.assertIsNone(batch.nulls("count"))

    def test_rows_are_taken(self) -> None:
        taken = self.batch().take([1, 1, 0])
        self.assertEqual(taken.values("name"), ["ü", "ü", "a"])
        self.assertEqual(taken.values("value"), [1.5, 1.5, None])

    def test_columns_pass_from_batch_to_batch(self) -> None:
        batch = self.batch()
        made = Batch.of(
            Reading, name=batch.column("name"), value=batch.values("value"), count=batch.column("count"), ok=[True, True]
        )
        self.assertEqual(made.values("name"), ["a", "ü"])
        self.assertEqual(made.values("count"), [1, 2])

    def test_wrong_columns_are_named(self) -> None:
        with self.assertRaisesRegex(InternalError, "`ok` of Reading is missing"):
            Batch.of(Reading, name=[], value=[], count=[])
        with self.assertRaisesRegex(InternalError, "different lengths"):
            Batch.of(Reading, name=["a"], value=[], count=[], ok=[])
        with self.assertRaisesRegex(InternalError, "no column `other`"):
            self.batch().column("other")


if __name__ == "__main__":
    unittest.main()
