"""A Millstream plugin of world `cogroup`: called for each key with its rows of several inputs."""

from dataclasses import dataclass

from millstream import KeyedOut, Rows, cogroup


@dataclass
class Order:
    """A row of the first input: its column `amount`."""

    amount: float


@dataclass
class Payment:
    """A row of the second input."""

    paid: float


@dataclass
class Open:
    """A row that it returns; the key columns come before it."""

    orders: int
    open: float


@cogroup
def my_plugin(orders: Rows[Order], payments: Rows[Payment], out: KeyedOut[Open]) -> None:
    """Tells what each key still has to pay. Keys that have paid all give no row."""
    ordered = sum(order.amount for order in orders)
    paid = sum(payment.paid for payment in payments)
    if ordered > paid:
        out.push(Open(len(orders), ordered - paid))
