"""Random expressions over extreme values: their text, and a function that computes them for a row."""

import datetime
import functools
import math

MIN, MAX = -(2**63), 2**63 - 1
NAN, INF = math.nan, math.inf
DAY = 86_400_000_000


class Fails(Exception):
    """The job must stop."""


class Unsure(Exception):
    """It depends on the order of evaluation whether the job stops, or a value has several valid forms."""


# Values: int, float, str, bool and None. A time is an int of microseconds.


def compared(value):
    """Returns a float for comparisons: all NaNs are equal and the largest, -0 is 0."""
    if isinstance(value, float):
        return (1, 0.0) if math.isnan(value) else (0, value + 0.0)
    return value.encode() if isinstance(value, str) else value


def canonical(value):
    return NAN if isinstance(value, float) and math.isnan(value) else value + 0.0 if isinstance(value, float) else value


def whole(value):
    if not MIN <= value <= MAX:
        raise Fails
    return value


def strict(work):
    """Makes a function return null if an argument is null."""
    return lambda *values: None if any(value is None for value in values) else work(*values)


def all_of(row, computes):
    """Evaluates expressions. If one fails and another is null, the null may be found first, so the result is unsure."""
    values, failed = [], False
    for compute in computes:
        try:
            values.append(compute(row))
        except Fails:
            failed = True
    if failed:
        raise Unsure if None in values else Fails
    return values


def divided(a, b):
    if isinstance(a, int):
        if b == 0:
            raise Fails
        return whole(abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1))
    if b == 0:
        return NAN if a == 0 or math.isnan(a) else math.copysign(INF, a) * math.copysign(1, b)
    return a / b


def rest(a, b):
    if isinstance(a, int):
        if b == 0:
            raise Fails
        return int(math.copysign(1, a)) * (abs(a) % abs(b))
    if b == 0 or math.isinf(a) or math.isnan(a) or math.isnan(b):
        return NAN
    return math.fmod(a, b)


def arithmetic(sign, a, b):
    if isinstance(a, int):
        return whole({"+": a + b, "-": a - b, "*": a * b}[sign])
    return a + b if sign == "+" else a - b if sign == "-" else a * b


def to_whole(f):
    if math.isnan(f) or math.isinf(f):
        raise Fails
    return whole(math.trunc(f))


def from_text(t):
    try:
        return whole(int(t, 10))
    except ValueError:
        raise Fails from None


def padded(t, count, fill, left):
    count = max(count, 0)
    more = (fill * count)[: max(count - len(t), 0)]
    return t[:count] if len(t) >= count else more + t if left else t + more


def part_of_time(name, micros):
    try:
        at = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=micros)
    except OverflowError:
        raise Unsure from None
    return (at.weekday() + 1) % 7 if name == "dow" else getattr(at, name)


COMPARE = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
COLUMNS = {"int": ["i", "j"], "float": ["f", "g"], "text": ["t", "u"], "time": ["at", "bt"], "bool": ["b"]}
WHOLE = [0, 1, -1, 2, 7, -3, 64, 10**6, 2**31, 2**53 + 1, MAX, MIN, MAX - 1, -(2**62), 3_037_000_500]
FLOATS = [0.0, -0.0, 1.0, -1.5, 0.1, 1e16, -1e16, 1e308, -1e308, 5e-324, 2.0**63, NAN, INF, -INF, 3.0]
TEXTS = ["", "a", "A", "ä€😀", "12", "-7", "abc", "9223372036854775808", "%", "a b"]
TIMES = [0, -1, 1, 1_767_225_600_123_456, -62_135_596_800_000_000, 253_402_300_799_999_999, DAY, -DAY * 400]


class Maker:
    """Generates expressions: their text, and a function that computes them for a row."""

    def __init__(self, rng):
        self.rng = rng

    def constant(self, kind):
        pick = self.rng.choice
        if kind == "int":
            value = pick(WHOLE)
            return f"({value})" if value < 0 else str(value), value
        if kind == "float":
            value = pick(FLOATS)
            if math.isnan(value) or math.isinf(value):
                name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
                return f"cast('{name}' as double)", value
            return f"cast('{value!r}' as double)", value
        if kind == "text":
            value = pick(TEXTS)
            return f"'{value}'", value
        if kind == "bool":
            value = pick([True, False])
            return str(value).lower(), value
        return None

    def leaf(self, kind):
        made = self.constant(kind) if self.rng.random() < 0.3 else None
        if made is None:
            column = self.rng.choice(COLUMNS[kind])
            return column, lambda row: row[column]
        text, value = made
        return text, lambda row: value

    def make(self, kind, depth):
        """Returns `(text, compute)`. `compute` raises Unsure if the result depends on the order of evaluation."""
        if depth == 0 or self.rng.random() < 0.1:
            return self.leaf(kind)
        any_kind = self.rng.choice(list(COLUMNS))
        sub = lambda kind: self.make(kind, depth - 1)
        form = self.rng.random()
        if form < 0.12:
            return self.case(kind, sub)
        if form < 0.2:
            (a, x), (b, y) = sub(kind), sub(kind)
            return f"coalesce({a}, {b})", lambda row: self.either(x(row), lambda: y(row))
        if form < 0.25 and kind != "bool":
            (a, x), (b, y) = sub(kind), sub(kind)
            equal = lambda p, q: p is not None and q is not None and compared(p) == compared(q)
            return f"nullif({a}, {b})", lambda row: (lambda p, q: None if equal(p, q) else p)(x(row), y(row))
        if form < 0.3 and kind != "bool":
            word = self.rng.choice(["greatest", "least"])
            (a, x), (b, y) = sub(kind), sub(kind)
            best = {"greatest": max, "least": min}[word]
            known = lambda *values: [value for value in values if value is not None]
            pick = lambda values: canonical(best(values, key=compared)) if values else None
            return f"{word}({a}, {b})", lambda row: pick(known(x(row), y(row)))
        return getattr(self, kind)(sub, any_kind)

    def either(self, first, second):
        try:
            other = second()
        except Fails:
            if first is None:
                raise
            raise Unsure from None
        return other if first is None else first

    def case(self, kind, sub):
        (c, when), (a, x), (b, y) = sub("bool"), sub(kind), sub(kind)
        if self.rng.random() < 0.3:
            of = self.rng.choice(["int", "float", "text"])
            (v, value), (w, other) = sub(of), sub(of)
            equal = strict(lambda p, q: compared(p) == compared(q))
            c, when = None, lambda row: equal(value(row), other(row))

        def compute(row):
            holds, values = when(row), []
            for wanted, value in ((holds is True, x), (holds is not True, y)):
                try:
                    values.append((wanted, value(row)))
                except Fails:
                    if wanted:
                        raise
                    raise Unsure from None
            return next(value for wanted, value in values if wanted)

        head = f"when {c}" if c else f"{v} when {w}"
        return f"(case {head} then {a} else {b} end)", compute

    def two(self, sign, work, one, other):
        (a, x), (b, y) = one, other
        work = strict(work)
        return f"({a} {sign} {b})", lambda row: work(*all_of(row, (x, y)))

    def call(self, name, work, *given):
        texts, values = [text for text, _ in given], [value for _, value in given]
        work = strict(work)
        return f"{name}({', '.join(texts)})", lambda row: work(*all_of(row, values))

    def fixed(self, *choices):
        value = self.rng.choice(choices)
        return str(value) if isinstance(value, int) else f"'{value}'", lambda row: value

    def int(self, sub, _):
        pick = self.rng.randrange(12)
        if pick < 5:
            sign = self.rng.choice("+-*")
            return self.two(sign, functools.partial(arithmetic, sign), sub("int"), sub("int"))
        if pick < 7:
            return self.two(*[("/", divided), ("%", rest)][pick - 5], sub("int"), sub("int"))
        (a, x), (f, y), (t, z), (at, w) = sub("int"), sub("float"), sub("text"), sub("time")
        name = self.rng.choice(["year", "month", "day", "hour", "minute", "dow"])
        return [
            (f"(- {a})", lambda row: strict(lambda v: whole(-v))(x(row))),
            (f"abs({a})", lambda row: strict(lambda v: whole(abs(v)))(x(row))),
            (f"cast({f} as bigint)", lambda row: strict(to_whole)(y(row))),
            (f"length({t})", lambda row: strict(len)(z(row))),
            (f"cast(date_part('{name}', {at}) as bigint)", lambda row: strict(lambda v: part_of_time(name, v))(w(row))),
        ][pick - 7]

    def float(self, sub, _):
        pick = self.rng.randrange(8)
        mixed = lambda: self.widened(sub) if self.rng.random() < 0.3 else sub("float")
        if pick < 6:
            sign = "+-*+/%"[pick]
            work = {"/": divided, "%": rest}.get(sign, functools.partial(arithmetic, sign))
            return self.two(sign, work, sub("float"), mixed())
        (a, x), (b, y) = sub("float"), sub("int")
        return [
            (f"(- {a})", lambda row: strict(lambda v: -v)(x(row))),
            (f"cast({b} as double)", lambda row: strict(float)(y(row))),
        ][pick - 6]

    def widened(self, sub):
        text, value = sub("int")
        return text, lambda row: strict(float)(value(row))

    def text(self, sub, _):
        one = sub("text")
        return self.rng.choice([
            lambda: self.two("||", lambda a, b: a + b, one, sub("text")),
            lambda: self.call("upper", str.upper, one),
            lambda: self.call("lower", str.lower, one),
            lambda: self.call("reverse", lambda t: t[::-1], one),
            lambda: self.call("replace", str.replace, one, self.fixed("a", "12"), self.fixed("", "bb")),
            lambda: self.call("lpad", lambda t, n, f: padded(t, n, f, True), one, self.fixed(-1, 0, 2, 7), self.fixed("xy", "€")),
            lambda: self.call("rpad", lambda t, n, f: padded(t, n, f, False), one, self.fixed(-5, 0, 2, 7), self.fixed("xy", "€")),
            lambda: self.call("left", lambda t, n: t[:n], one, self.fixed(-1, 0, 1, 9)),
            lambda: self.call("substr", lambda t, s, n: t[max(s - 1, 0):max(s - 1 + n, 0)], one, self.fixed(-1, 0, 1, 2), self.fixed(0, 1, 5)),
            lambda: self.call("repeat", lambda t, n: t * n, one, self.fixed(-1, 0, 2)),
            lambda: (lambda a: (f"cast({a[0]} as text)", lambda row: strict(str)(a[1](row))))(sub("int")),
        ])()

    def time(self, sub, _):
        text, value = sub("time")
        pick = self.rng.randrange(3)
        if pick < 2:
            unit, length = self.rng.choice([("day", DAY), ("second", 10**6), ("microsecond", 1), ("hour", 3600 * 10**6)])
            count, sign = self.rng.choice([1, 3, 400]), "+-"[pick]
            length *= count if sign == "+" else -count
            return f"({text} {sign} interval '{count} {unit}')", lambda row: strict(lambda v: whole(v + length))(value(row))
        unit, length = self.rng.choice([("day", DAY), ("hour", 3600 * 10**6), ("second", 10**6)])

        def truncated(micros):
            if abs(micros) > 9_200_000_000_000_000:
                raise Unsure  # The library counts nanoseconds here, which end in 1677 and 2262, and says so.
            return micros // length * length

        return f"date_trunc('{unit}', {text})", lambda row: strict(truncated)(value(row))

    def bool(self, sub, kind):
        pick = self.rng.randrange(9)
        if pick < 4 and kind != "bool":
            sign = self.rng.choice(list(COMPARE))
            return self.two(sign, lambda a, b: COMPARE[sign](compared(a), compared(b)), sub(kind), sub(kind))
        if pick < 6:
            return self.both("and" if pick == 4 else "or", sub("bool"), sub("bool"))
        (a, x), (b, y), (c, z) = sub(kind), sub(kind), sub(kind)
        low = lambda p, q: None if p is None or q is None else compared(p) <= compared(q)
        if pick == 6 and kind != "bool":
            equal = strict(lambda p, q: compared(p) == compared(q))
            word = self.rng.choice(["in", "not in"])

            def among(row):
                found = self.joined("or", equal(x(row), y(row)), equal(x(row), z(row)))
                return found if found is None or word == "in" else not found

            return f"({a} {word} ({b}, {c}))", among
        if pick == 6:
            return f"({a} is null)", lambda row: x(row) is None
        if pick == 7 and kind != "bool":
            return f"({a} between {b} and {c})", lambda row: (
                lambda p, q, r: self.joined("and", low(q, p), low(p, r)))(x(row), y(row), z(row))
        same = lambda p, q: p is q if p is None or q is None else compared(p) == compared(q)
        return f"({a} is distinct from {b})", lambda row: not same(x(row), y(row))

    def joined(self, word, p, q):
        stops = word == "or"
        return stops if p is stops or q is stops else None if p is None or q is None else not stops

    def both(self, word, one, other):
        (a, x), (b, y) = one, other

        def compute(row):
            values = []
            for value in (x, y):
                try:
                    values.append(value(row))
                except Fails:
                    raise Unsure from None  # Either side may be computed first, or not at all.
            return self.joined(word, *values)

        return f"({a} {word} {b})", compute
