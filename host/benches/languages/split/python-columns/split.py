"""Splits lines into words."""

from dataclasses import dataclass

from millstream import Batch, transform


@dataclass
class Line:
    value: str


@dataclass
class Word:
    word: str


@transform
def split(lines: Batch[Line]) -> Batch[Word]:
    return Batch.of(Word, word=[word for line in lines.column("value") for word in line.split()])
