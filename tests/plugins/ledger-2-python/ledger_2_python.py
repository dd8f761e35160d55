"""The plugin ledger-2 in Python."""

from dataclasses import dataclass

from millstream import Context, KeyedOut, Remove, Rows, migrate, update


@dataclass
class Account:
    """The account of a key in version 0.1."""

    rows: int
    digest: int


@dataclass
class Book:
    digest: int = 0
    place: int = 0
    taken_over: int | None = None
    note: str = ""


@dataclass
class Entry:
    n: int
    place: int
    digest: int


CLOSES = 17


def wrapped(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63


@update
def ledger(n: Rows[int], old: Book | None, context: Context, out: KeyedOut[Entry]) -> Book | Remove:
    book = old
    for number in n:
        book = book or Book()
        book.place += 1
        book.digest = wrapped(book.digest * 1_000_003 + number)
        out.push(Entry(number, book.place, book.digest))
        if number % CLOSES == 0:
            book = None
    if book and context.timed_out:
        out.push(Entry(-1, book.place, book.digest))
    return book or Remove()


@migrate
def book_of_account(old: Account) -> Book:
    return Book(old.digest, old.rows, old.rows, f"{old.rows} rows before")
