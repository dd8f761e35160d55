"""Dates, decimals, structs and lists: in a key, in rows, in a state and in the output."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated

from millstream import Column, ColumnType, KeyedOut, Rejection, Remove, Rows, update

Price = Annotated[Decimal, ColumnType("decimal(12,2)")]
Texts = Annotated[list[str | None], ColumnType("list<text>")]
Item = Annotated[dict, ColumnType("struct<id: int64, sku: text>")]


@dataclass
class Sale:
    price: Price | None
    tags: Texts
    item: Item | None


@dataclass
class Total:
    total: Price
    seen: Texts
    last: Annotated[dict | None, ColumnType("struct<id: int64, sku: text>"), Column("last item")]
    since: date


@dataclass
class Told:
    total: Annotated[Decimal, ColumnType("decimal(20,2)")]
    seen: Texts
    last: Item | None
    since: date | None


@update
def written(day: date, sales: Rows[Sale], old: Total | None, out: KeyedOut[Told]) -> Total | Remove:
    """Keeps a total of each day."""
    new = old or Total(Decimal(0), [], None, day)
    closed = False
    for sale in sales:
        if sale.price == 13:
            closed = True
        if sale.price == 14:
            raise Rejection(f"{sale.price} on {day}")
        new.total += sale.price or 0
        new.seen += sale.tags
        new.last = sale.item or new.last
    out.push(Told(new.total, new.seen, new.last, day if new.total else None))
    return Remove() if closed else new
