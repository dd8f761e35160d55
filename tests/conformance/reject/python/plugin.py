"""A typed config, the context of a call, and rejected rows."""

from dataclasses import dataclass, field

from millstream import Context, Rejection, Timestamp, counter, log, transform


@dataclass
class Payment:
    amount: int
    kind: str | None


@dataclass
class Accepted:
    amount: int
    scaled: float
    label: str
    batch: int
    time: Timestamp
    watermark: Timestamp | None


@dataclass
class Config:
    at_least: int
    rate: float = 1.0
    label: str = "ok"
    strict: bool = False
    kinds: list[str] = field(default_factory=list)


@transform
def reject(payment: Payment, config: Config, context: Context) -> Accepted | None:
    """Rejects rows according to its config."""
    counter.add("seen")
    log.debug(f"amount {payment.amount}")
    amount, kind = payment.amount, payment.kind
    if amount < config.at_least:
        raise Rejection(f"{amount} is below {config.at_least}")
    if kind is None and config.strict:
        raise Rejection("it has no kind")
    if kind is not None and config.kinds and kind not in config.kinds:
        raise Rejection(f"`{kind}` is not one of {', '.join(config.kinds)}")
    if amount == 0:
        return None
    return Accepted(amount, amount * config.rate, config.label, context.batch, context.time, context.watermark)
