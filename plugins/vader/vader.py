"""A Millstream plugin of world `transform`: the sentiment of texts, by VADER (C.J. Hutto and E.E. Gilbert, 2014)."""

import copy
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from millstream import transform
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

# Reads its word list from a file, which there is while the component is made and not later.
ANALYZER = SentimentIntensityAnalyzer()

PARTS = {"compound": "compound", "positive": "pos", "neutral": "neu", "negative": "neg"}


@dataclass
class Config:
    part: Literal["compound", "positive", "neutral", "negative"] = "compound"
    words: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for word, weight in self.words.items():
            if not -4 <= weight <= 4:
                raise ValueError(f"words.{word}: a weight is from -4 to 4, not {weight:g}")


@dataclass
class Score:
    score: float | None


@lru_cache(maxsize=1)
def analyzer(words: tuple[tuple[str, float], ...]) -> SentimentIntensityAnalyzer:
    """The analyzer with more words."""
    own = copy.copy(ANALYZER)
    own.lexicon = {**ANALYZER.lexicon, **dict(words)}
    return own


@transform
def vader(value: str | None, config: Config) -> Score:
    """Tells how friendly a text is: from -1 to 1, or how much of it is positive, neutral or negative."""
    if value is None:
        return Score(None)
    own = analyzer(tuple(config.words.items())) if config.words else ANALYZER
    return Score(own.polarity_scores(value)[PARTS[config.part]])
