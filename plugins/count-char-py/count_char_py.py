"""A Millstream plugin of world `transform`: how often a character is in a text, the function of Nexmark's query 14."""

from dataclasses import dataclass

from millstream import transform


@dataclass
class Count:
    count: int | None


@transform
def count_char(text: str | None, character: str | None) -> Count:
    """Tells how often `character` is in `text`."""
    if text is None or character is None:
        return Count(None)
    return Count(text.count(character) if character else 0)
