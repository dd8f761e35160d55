"""Sums the amounts of each key."""

from dataclasses import dataclass

from millstream import aggregate


@dataclass
class Sum:
    sum: int


@aggregate
class Total:
    """The sum of the amounts."""

    def lift(self, amount: int) -> Sum:
        return Sum(amount)

    def combine(self, left: Sum, right: Sum) -> Sum:
        return Sum(left.sum + right.sum)

    def lower(self, sum: Sum) -> Sum:
        return sum
