"""Values that may differ in each run: random numbers, the clock, and the order of sets."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime

from millstream import Rejection, transform


@dataclass
class Turn:
    who: str
    stake: int


@dataclass
class Throw:
    who: str
    amount: int
    at: str
    letters: str


@transform
def dice_python(turn: Turn) -> Throw:
    if turn.stake < 0:
        raise Rejection(f"{turn.who} cannot stake {turn.stake}")
    amount = turn.stake * random.randint(1, 6) + 2**60
    return Throw(turn.who, amount, datetime.now(UTC).isoformat(), "".join(set("millstream")))
