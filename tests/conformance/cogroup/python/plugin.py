"""Two inputs, grouped by a key of a required type."""

from dataclasses import dataclass

from millstream import Rejection, Rows, cogroup


@dataclass
class Order:
    amount: int
    item: str | None


@dataclass
class Payment:
    paid: int


@dataclass
class Account:
    user: str
    orders: int
    payments: int
    items: str | None
    balance: int


@cogroup
def accounts(user: str, orders: Rows[Order], payments: Rows[Payment]) -> Account | None:
    """Returns the orders and payments of each user."""
    if user == "nobody":
        raise Rejection(f"{len(orders)} orders of nobody")
    balance = sum(payment.paid for payment in payments) - sum(order.amount for order in orders)
    if balance == 0:
        return None
    items = [order.item for order in orders if order.item is not None]
    return Account(user, len(orders), len(payments), "+".join(items) if items else None, balance)
