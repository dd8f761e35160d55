"""The benchmark functions in CPython. See languages/README.md."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass
class Line:
    value: str


@dataclass
class Word:
    word: str


@dataclass
class Pair:
    a: float
    b: float


@dataclass
class Scaled:
    out: float


@dataclass
class Payment:
    amount: int


@dataclass
class Total:
    total: int


def split(line: Line) -> Iterator[Word]:
    for word in line.value.split():
        yield Word(word)


def scaled(pair: Pair) -> Scaled:
    return Scaled(pair.a * 2.5 + pair.b)


def total(payments: Iterable[Payment], old: Total | None) -> Total:
    result = old.total if old else 0
    for payment in payments:
        result += payment.amount
    return Total(result)


def words_of_rows(lines: list[str]) -> Callable[[], list[Any]]:
    rows = [Line(line) for line in lines]
    return lambda: [word for row in rows for word in split(row)]


def words_of_columns(lines: list[str]) -> Callable[[], list[Any]]:
    return lambda: [word for line in lines for word in line.split()]


def numbers_of_rows(lines: list[str]) -> Callable[[], list[Any]]:
    rows = [Pair(*map(float, line.split())) for line in lines]
    return lambda: [scaled(row) for row in rows]


def numbers_of_columns(lines: list[str]) -> Callable[[], list[Any]]:
    a = [float(line.split()[0]) for line in lines]
    b = [float(line.split()[1]) for line in lines]
    return lambda: [x * 2.5 + y for x, y in zip(a, b)]


def totals_of_rows(lines: list[str]) -> Callable[[], list[Any]]:
    groups = []
    for line in lines:
        key, old, *amounts = line.split()
        groups.append((key, Total(int(old)), [Payment(int(amount)) for amount in amounts]))

    def run() -> list[Any]:
        out, states = [], []
        for key, old, payments in groups:
            new = total(payments, old)
            states.append(new)
            out.append((key, new))
        return out

    return run


def totals_of_columns(lines: list[str]) -> Callable[[], list[Any]]:
    keys, olds, amounts, ends = [], [], [], []
    for line in lines:
        key, old, *more = line.split()
        keys.append(key)
        olds.append(int(old))
        amounts += map(int, more)
        ends.append(len(amounts))

    def run() -> list[Any]:
        totals, start = [], 0
        for end, old in zip(ends, olds):
            totals.append(old + sum(amounts[start:end]))
            start = end
        return list(zip(keys, totals))

    return run


def number(row: Any) -> float:
    """The number of a row that the check sums."""
    match row:
        case Word(word) | str(word):
            return len(word)
        case Scaled(out) | float(out):
            return out
        case (_, Total(total)) | (_, int(total)):
            return total
    raise TypeError(row)


WORKS = {
    ("split", "rows"): words_of_rows,
    ("split", "columns"): words_of_columns,
    ("numeric", "rows"): numbers_of_rows,
    ("numeric", "columns"): numbers_of_columns,
    ("total", "rows"): totals_of_rows,
    ("total", "columns"): totals_of_columns,
}


def main() -> None:
    work, style, path, rows = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        run = WORKS[work, style](file.read().splitlines())
    for command in sys.stdin:
        if command == "check\n":
            output = run()
            print(len(output), float(sum(number(row) * (i % 1000) for i, row in enumerate(output))), flush=True)
            continue
        calls = int(command)
        start = time.perf_counter_ns()
        for _ in range(calls):
            run()
        print((time.perf_counter_ns() - start) / calls / int(rows), flush=True)


main()
