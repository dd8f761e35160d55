"""Computes a number from two columns."""

from dataclasses import dataclass

from millstream import transform


@dataclass
class Pair:
    a: float
    b: float


@dataclass
class Scaled:
    out: float


@transform
def scaled(pair: Pair) -> Scaled:
    return Scaled(pair.a * 2.5 + pair.b)
