"""Calls that fail in every way, and requests to the runtime."""

import random
import sys
import time
from dataclasses import dataclass

from millstream import Rejection, files, transform


@dataclass
class Done:
    value: str


@transform
def failing(value: str) -> Done:
    """Runs the actions of its rows, most of which fail the call."""
    match value:
        case "fail":
            print("about to fail")
            raise RuntimeError("cannot go on with `fail`")
        case "divide":
            return Done(str(1 // len("")))
        case "loop":
            while True:
                pass
        case "recurse":
            return Done(str(deeper(1)))
        case "memory":
            kept = []
            while True:
                kept.append(b"x" * (1 << 20))
        case "print":
            print("printed: äöü €")
            print("the second line")
            print("whispered: 日本", file=sys.stderr)
            return Done("printed")
        case "refuse":
            raise Rejection("rejected on demand")
        case "file":
            return Done(files.read_all("notes").decode())
        case "clock":
            return Done(str(int(time.time())))
        case "random":
            return Done(str(random.getrandbits(64)))
        case "order":
            return Done(" ".join({f"key {n}" for n in range(64)}))
    return Done(value)


def deeper(n: int) -> int:
    return deeper(n + 1) + 1
