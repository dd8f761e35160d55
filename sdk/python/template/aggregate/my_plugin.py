"""A Millstream plugin of world `aggregate`: reduces rows to one row per key, or to one in total."""

from dataclasses import dataclass

from millstream import aggregate


@dataclass
class Sale:
    """An input row: the column `price` of the stage's input."""

    price: float


@dataclass
class Sum:
    """The accumulator. `combine` must be associative."""

    sum: float
    count: int


@dataclass
class Mean:
    """The output row. The key columns come before its columns."""

    mean: float


@aggregate
class MyPlugin:
    """Computes the mean price."""

    def lift(self, sale: Sale) -> Sum:
        return Sum(sale.price, 1)

    def combine(self, left: Sum, right: Sum) -> Sum:
        return Sum(left.sum + right.sum, left.count + right.count)

    def lower(self, sum: Sum) -> Mean:
        return Mean(sum.sum / sum.count)

    # Optional: makes sliding windows cheaper. `inverse(combine(a, b), a)` is b.
    def inverse(self, whole: Sum, part: Sum) -> Sum:
        return Sum(whole.sum - part.sum, whole.count - part.count)
