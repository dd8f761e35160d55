"""A Millstream plugin of world `aggregate`: rows reduced to one, by key or as a whole."""

from dataclasses import dataclass

from millstream import aggregate


@dataclass
class Sale:
    """A row that the plugin reads: the column `price` of the stage's input."""

    price: float


@dataclass
class Sum:
    """What rows are reduced to on the way. It must not matter in which groups they are combined."""

    sum: float
    count: int


@dataclass
class Mean:
    """The row that comes out, after the key columns."""

    mean: float


@aggregate
class MyPlugin:
    """The mean price."""

    def lift(self, sale: Sale) -> Sum:
        return Sum(sale.price, 1)

    def combine(self, left: Sum, right: Sum) -> Sum:
        return Sum(left.sum + right.sum, left.count + right.count)

    def lower(self, sum: Sum) -> Mean:
        return Mean(sum.sum / sum.count)

    # Optional: makes sliding windows cheaper. `inverse(combine(a, b), a)` is b.
    def inverse(self, whole: Sum, part: Sum) -> Sum:
        return Sum(whole.sum - part.sum, whole.count - part.count)
