"""Dates, decimals, structs and lists."""

import unittest
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated

from millstream import ColumnType, InternalError, Rejection, Remove, Rows, testing, transform, update
from millstream.row import row_type
from millstream.schema import Schema


@dataclass
class Sale:
    day: date
    price: Annotated[Decimal | None, ColumnType("decimal(12,2)")]
    tags: Annotated[list[str], ColumnType("list<text>")]
    item: Annotated[dict, ColumnType("struct<id: int64, of: decimal(9,2)>")] | None


@dataclass
class Wrong:
    price: Annotated[int, ColumnType("decimal(12,2)")]


@transform
def next_day(sale: Sale) -> Sale:
    """The sale of the next day, at twice the price."""
    if sale.tags == ["wrong"]:
        return Sale("no", None, [], None)  # type: ignore[arg-type]
    item = sale.item and {**sale.item, "of": sale.item["of"] + 1}
    price = None if sale.price is None else sale.price * 2
    return Sale(sale.day + timedelta(1), price, [*sale.tags, "é"], item)


@dataclass
class Total:
    total: Annotated[Decimal, ColumnType("decimal(12,2)")]
    last: date


@update
def totals(day: date, rows: Rows[Sale], old: Total | None) -> Total | Remove:
    """Adds prices up."""
    prices = [row.price for row in rows]
    if 13 in prices:
        return Remove()
    if 14 in prices:
        raise Rejection("no")
    return Total((old.total if old else Decimal(0)) + sum(price or 0 for price in prices), day)


def sale(price: str | None, tags: list[str] | None = None) -> dict:
    item = {"id": 1, "of": Decimal("2.25")}
    return {"day": date(2026, 12, 31), "price": price and Decimal(price), "tags": tags or [], "item": price and item}


class WrittenTest(unittest.TestCase):
    def test_values_have_python_types(self) -> None:
        rows = testing.transform(next_day).run([sale("1.50", ["a"]), sale(None)]).rows
        item = {"id": 1, "of": Decimal("3.25")}
        self.assertEqual(rows[0], {"day": date(2027, 1, 1), "price": Decimal("3.00"), "tags": ["a", "é"], "item": item})
        self.assertEqual(rows[1], {"day": date(2027, 1, 1), "price": None, "tags": ["é"], "item": None})

    def test_values_of_another_type_are_reported(self) -> None:
        with self.assertRaisesRegex(InternalError, "field `day` is date, not 'no'"):
            testing.transform(next_day).run([sale(None, ["wrong"])])

    def test_states(self) -> None:
        test = testing.update(totals, key="day date")
        self.assertEqual(test.run([sale("14")]).rejected, [(0, "no")])
        self.assertEqual(test.states, [])
        test.run([sale("1.5")])
        test.run([sale("1.5"), sale(None)])
        test.run([sale("14")])
        self.assertEqual(test.states, [{"day": date(2026, 12, 31), "total": Decimal("3.0"), "last": date(2026, 12, 31)}])
        test.run([sale("13")])
        self.assertEqual(test.states, [])

    def test_schemas(self) -> None:
        columns = "a decimal(12,2), b struct<id: int64, x: list<text>>, c text"
        self.assertEqual(str(Schema.parse(columns)), columns)

    def test_unsuitable_types(self) -> None:
        with self.assertRaisesRegex(TypeError, "Wrong.price is of the type"):
            row_type(Wrong)
