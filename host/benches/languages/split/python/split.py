"""Splits lines into words."""

from collections.abc import Iterator
from dataclasses import dataclass

from millstream import transform


@dataclass
class Line:
    value: str


@dataclass
class Word:
    word: str


@transform
def split(line: Line) -> Iterator[Word]:
    for word in line.value.split():
        yield Word(word)
