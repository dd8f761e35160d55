"""Several rows or none from one row, and rows that are removed again."""

from collections.abc import Iterator
from dataclasses import dataclass

from millstream import Rejection, transform


@dataclass
class Word:
    word: str
    place: int


@transform
def split(line: str) -> Iterator[Word]:
    """Splits lines into words."""
    for place, word in enumerate(filter(None, line.split(" "))):
        if word.startswith("#"):
            return
        if word == "!":
            raise Rejection(f"word {place} is not valid")
        yield Word(word, place)
