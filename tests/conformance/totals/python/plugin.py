"""A state for each key: kept, removed, timed out, with timers; and rejected rows of a key."""

from dataclasses import dataclass

from millstream import Context, KeyedOut, Rejection, Remove, Rows, Timers, Timestamp, update

SECOND = 1_000_000


@dataclass
class Payment:
    amount: int
    note: str | None


@dataclass
class Total:
    total: int
    count: int
    note: str | None
    since: Timestamp


@dataclass
class Told:
    why: str
    total: int
    count: int
    note: str | None
    since: Timestamp
    alarm: Timestamp | None


@update
def totals(
    payments: Rows[Payment], old: Total | None, context: Context, timers: Timers, out: KeyedOut[Told]
) -> Total | Remove:
    """Keeps a total of each key."""
    had = old.count if old else 0
    new = old or Total(total=0, count=0, note=None, since=context.time)

    def tell(why: str, alarm: Timestamp | None = None) -> None:
        out.push(Told(why, new.total, new.count, new.note, new.since, alarm))

    closed = False
    for payment in payments:
        new.total += payment.amount
        new.count += 1
        if payment.note is not None:
            new.note = payment.note
        tell("row")
        match payment.note:
            case "bad":
                raise Rejection(f"a bad note after {had} payments")
            case "close":
                closed = True
            case "alarm":
                timers.set(context.time + 2 * SECOND)
            case "calm":
                timers.cancel(context.time + SECOND)
    for at in timers.due():
        tell("alarm", at)
    if context.timed_out:
        tell("timeout")
    elif not payments and not timers.due():
        tell("call")
    return Remove() if closed else new
