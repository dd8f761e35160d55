"""A plugin of world `update` as it was written for the first release: None removes the key."""

from dataclasses import dataclass

from millstream import KeyedOut, Rows, update


@dataclass
class Payment:
    amount: float


@dataclass
class Account:
    balance: float = 0.0


@dataclass
class Statement:
    balance: float


@update
def accounts_python(payments: Rows[Payment], account: Account | None, out: KeyedOut[Statement]) -> Account | None:
    """Keeps the balance of each key until it is settled."""
    balance = (account.balance if account else 0.0) + sum(payment.amount for payment in payments)
    out.push(Statement(balance))
    return Account(balance) if balance else None
