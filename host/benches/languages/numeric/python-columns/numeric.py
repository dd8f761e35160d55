"""Computes a number from two columns."""

from array import array
from dataclasses import dataclass

from millstream import Batch, transform


@dataclass
class Pair:
    a: float
    b: float


@dataclass
class Scaled:
    out: float


@transform
def scaled(pairs: Batch[Pair]) -> Batch[Scaled]:
    a, b = pairs.column("a"), pairs.column("b")
    return Batch.of(Scaled, out=array("d", [x * 2.5 + y for x, y in zip(a, b)]))
