"""A Millstream plugin of world `update`: called for each key with its new rows and its state."""

from dataclasses import dataclass

from millstream import Context, KeyedOut, Rows, update


@dataclass
class Payment:
    """An input row: the column `amount` of the stage's input."""

    amount: float


@dataclass
class Account:
    """The state of each key, kept between batches."""

    balance: float = 0.0
    payments: int = 0


@dataclass
class Statement:
    """An output row. The key columns come before its columns."""

    balance: float
    closed: bool
    """True if the key was idle for the stage's `timeout` and is removed."""


@update
def my_plugin(
    payments: Rows[Payment], account: Account | None, context: Context, out: KeyedOut[Statement]
) -> Account:
    """Keeps the balance of each key."""
    account = account or Account()
    account.balance += sum(payment.amount for payment in payments)
    account.payments += len(payments)
    out.push(Statement(account.balance, closed=context.timed_out))
    return account
