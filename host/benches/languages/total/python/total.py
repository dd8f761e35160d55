"""Adds up the amounts of each key."""

from dataclasses import dataclass

from millstream import KeyedOut, Rows, update


@dataclass
class Payment:
    amount: int


@dataclass
class Total:
    total: int


@update
def total(payments: Rows[Payment], old: Total | None, out: KeyedOut[Total]) -> Total:
    result = old.total if old else 0
    for payment in payments:
        result += payment.amount
    out.push(Total(result))
    return Total(result)
