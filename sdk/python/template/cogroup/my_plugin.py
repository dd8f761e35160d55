"""A Millstream plugin of world `cogroup`: called for each key with its rows from several inputs."""

from dataclasses import dataclass

from millstream import KeyedOut, Rows, cogroup


@dataclass
class Order:
    """A row of the first input: the column `amount`."""

    amount: float


@dataclass
class Payment:
    """A row of the second input."""

    paid: float


@dataclass
class Open:
    """An output row. The key columns come before its columns."""

    orders: int
    open: float


@cogroup
def my_plugin(orders: Rows[Order], payments: Rows[Payment], out: KeyedOut[Open]) -> None:
    """Returns the open amount of each key. Keys that have paid everything return no row."""
    ordered = sum(order.amount for order in orders)
    paid = sum(payment.paid for payment in payments)
    if ordered > paid:
        out.push(Open(len(orders), ordered - paid))
