"""A Millstream plugin of world `transform`: rows in, rows out."""

from dataclasses import dataclass

from millstream import Rejection, transform


@dataclass
class Order:
    """An input row: the columns `name` and `amount` of the stage's input."""

    name: str
    amount: float


@dataclass
class Bill:
    """An output row."""

    name: str
    total: float


@dataclass
class Config:
    """The stage's `config`."""

    tax: float = 0.0
    """Percentage that is added to each amount."""


@transform
def my_plugin(order: Order, config: Config) -> Bill:
    """Adds a tax to the amount of each order. Rejects orders with an amount below zero."""
    if order.amount < 0:
        raise Rejection(f"the amount {order.amount:g} is below zero")
    return Bill(order.name, order.amount * (1 + config.tax / 100))
