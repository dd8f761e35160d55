"""An aggregate with an inverse, which receives its key."""

from dataclasses import dataclass

from millstream import aggregate


@dataclass
class Sum:
    sum: int
    count: int


@dataclass
class Mean:
    title: str
    mean: float | None
    count: int


@aggregate
class MeanAmount:
    """The mean amount of each shop."""

    def lift(self, amount: int) -> Sum:
        return Sum(amount, 1)

    def combine(self, left: Sum, right: Sum) -> Sum:
        return Sum(left.sum + right.sum, left.count + right.count)

    def lower(self, shop: str, sum: Sum) -> Mean:
        mean = sum.sum / sum.count if sum.count else None
        return Mean(f"mean of {shop}", mean, sum.count)

    def inverse(self, whole: Sum, part: Sum) -> Sum:
        return Sum(whole.sum - part.sum, whole.count - part.count)
