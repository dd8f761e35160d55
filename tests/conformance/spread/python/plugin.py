"""An aggregate without an inverse, whose combination is not commutative, and which may reject rows."""

from dataclasses import dataclass

from millstream import Rejection, aggregate


@dataclass
class Sale:
    price: float
    item: str


@dataclass
class Prices:
    low: float
    high: float
    first: str
    last: str
    count: int


@dataclass
class Spread:
    low: float
    high: float
    spread: float
    first: str
    last: str
    count: int


@dataclass
class Config:
    factor: float = 1.0


@aggregate
class PriceSpread:
    """The lowest and the highest price, the first and the last item."""

    def __init__(self, config: Config) -> None:
        self.factor = config.factor

    def lift(self, sale: Sale) -> Prices:
        if sale.price < 0:
            raise Rejection("a price below zero")
        price = sale.price * self.factor
        return Prices(price, price, sale.item, sale.item, 1)

    def combine(self, left: Prices, right: Prices) -> Prices:
        return Prices(
            low=min(left.low, right.low),
            high=max(left.high, right.high),
            first=left.first,
            last=right.last,
            count=left.count + right.count,
        )

    def lower(self, prices: Prices) -> Spread:
        spread = prices.high - prices.low
        return Spread(prices.low, prices.high, spread, prices.first, prices.last, prices.count)
