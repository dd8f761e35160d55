"""Parses payments from lines of JSON."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from millstream import transform


@dataclass
class Line:
    value: str


@dataclass
class Payment:
    user: str
    amount: int


@transform
def payments(line: Line) -> Iterator[Payment]:
    payment = json.loads(line.value)
    yield Payment(payment["user"], payment["amount"])
