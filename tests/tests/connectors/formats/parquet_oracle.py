"""Random Parquet files: written by pyarrow, read by the program, and compared. Called by oracle.py.

Expected values are computed from the written numbers, not from pyarrow's reader, which has limits of its own.
"""

import json
import struct
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal, getcontext

from oracle import Json, as_float, compare, float_value, path, run

EPOCH = datetime(1970, 1, 1)
# Clock changes in Berlin in 2026: forward at the first time, back at the second one (UTC).
FORWARD, BACK = [int(datetime(2026, month, day, 1, tzinfo=timezone.utc).timestamp()) * 10**6 for month, day in ((3, 29), (10, 25))]
HOUR = 3_600 * 10**6
REFUSED = object()
getcontext().prec = 60


def time_text(us):
    """Formats a time like the program, including years that Python does not support."""
    days, rest = divmod(us, 86_400 * 10**6)
    seconds, us = divmod(rest, 10**6)
    return f"{day_text(days)}T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{us:06}Z"


def day_text(days):
    # All periods of 400 years have the same number of days; Python supports the years 1 to 9999.
    eras, days_left = divmod(days, 146_097)
    day = date(2000, 1, 1) + timedelta(days=days_left - 10_957)
    year = day.year + 400 * eras
    return f"{year:04}-{day:%m-%d}" if 0 <= year <= 9999 else f"{year:+05}-{day:%m-%d}"


def moment(value, unit, berlin):
    us = {"s": value * 10**6, "ms": value * 1000, "us": value, "ns": value // 1000}[unit]
    if not -(2**63) <= us < 2**63:
        return REFUSED
    if not berlin:
        return time_text(us)
    moments = [us - offset for offset in (2 * HOUR, HOUR) if offset_at(us - offset) == offset]
    return time_text(min(moments)) if moments else REFUSED


def offset_at(us):
    return 2 * HOUR if FORWARD <= us < BACK else HOUR


class Columns:
    """Columns of a random file, columns of the job that reads them, and the expected values."""

    def __init__(self, rng, pa):
        self.rng, self.pa = rng, pa

    def of(self, name):
        """Returns Arrow's type, a generator of values, and (column, type in the job, expected value)."""
        rng, pa = self.rng, self.pa
        own = lambda word, take: [(name, f'"{word}"', take)]
        choice = rng.randrange(17)
        if choice == 0:
            bits, signed = rng.choice([8, 16, 32, 64]), rng.random() < 0.5
            low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
            kind = getattr(pa, f"{'' if signed else 'u'}int{bits}")()
            wide = own("decimal(20,0)", lambda v: v) if bits == 64 else own("int64", lambda v: v)
            return kind, lambda: rng.choice([low, high, 0, rng.randrange(low, high + 1)]), wide
        if choice == 1:
            kind = rng.choice(["float", "double"])
            make = lambda: as_float(kind, rng.choice([0.0, -1.5, float("nan"), float("-inf"), rng.random()]))
            return {"float": pa.float32(), "double": pa.float64()}[kind], make, own("float64", float_value)
        if choice == 2:
            half = lambda: struct.unpack("<e", struct.pack("<e", rng.random()))[0]
            return pa.float16(), half, own("float64", float_value)
        if choice == 3:
            return pa.bool_(), lambda: rng.random() < 0.5, own("bool", lambda v: v)
        if choice == 4:
            kind = rng.choice([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
            return kind, lambda: rng.choice(["", "a", "ä\n", '"\\', "日"]), own("text", lambda v: v)
        if choice == 5:
            kind = rng.choice([pa.binary(), pa.large_binary()])
            columns = own("binary", bytes.hex) + [(f"{name}_text", path('"text"', [name]), lambda v: text_or_refused(v))]
            return kind, lambda: rng.choice([b"", b"ab", "é".encode(), b"12"] + [b"\xff"] * (rng.random() < 0.1)), columns
        if choice == 6:
            digits = rng.choice([3, 9, 18, 38])
            scale = rng.randrange(digits)
            make = lambda: Decimal(rng.randrange(-(10**digits) + 1, 10**digits)).scaleb(-scale)
            return pa.decimal128(digits, scale), make, own("text", lambda v: format(v, "f"))
        if choice == 7:
            kind = rng.choice([pa.date32(), pa.date64()])
            make = lambda: date(1970, 1, 1) + timedelta(days=rng.choice([0, -1, -700_000, 2_900_000, 20_000]))
            days = lambda v: (v - date(1970, 1, 1)).days
            columns = own("date", lambda v: day_text(days(v)))
            return kind, make, columns + [(f"{name}_at", path('"timestamp"', [name]), lambda v: time_text(days(v) * 86_400 * 10**6))]
        if choice == 8:
            unit = rng.choice(["us", "ns"])
            kind, top = pa.time64(unit), {"us": 86_400 * 10**6, "ns": 86_400 * 10**9}[unit]
            make = lambda: rng.randrange(top)
            return kind, make, own("text", lambda v: clock_text(v, 10**6 if unit == "us" else 10**9))
        if choice in (9, 10, 11):
            return self.times(name)
        if choice == 12:
            inner, make, columns = self.scalar(f"{name}_item")
            kind = rng.choice([pa.list_(inner), pa.large_list(inner)])
            of = lambda at: lambda v: columns(v[at]) if v is not None and at < len(v) and v[at] is not None else None
            word = self.word
            own = [(f"{name}_{at}", path(word, [name, str(at)]), of(at)) for at in range(2)]
            return kind, lambda: [rng.choice([None, make()]) for _ in range(rng.randrange(3))], own
        if choice == 13:
            inner, make, take = self.scalar(f"{name}_member")
            kind = pa.struct([("x", inner), ("y", pa.list_(pa.struct([("z", pa.int8())])))])
            of = lambda v: None if v is None or v["x"] is None else take(v["x"])
            columns = [
                (f"{name}_x", path(self.word, [name, "x"]), of),
                (f"{name}_z", path('"int64"', [name, "y", "0", "z"]), lambda v: v["y"][0]["z"] if v and v["y"] else None),
            ]
            return kind, lambda: {"x": rng.choice([None, make()]), "y": [{"z": rng.randrange(9)}] * rng.randrange(2)}, columns
        key, keys, shown = rng.choice(
            [
                (pa.string(), ["k", "ä"], str),
                (pa.int32(), [-5, 7], str),
                (pa.uint64(), [0, 2**64 - 1], str),
                (pa.bool_(), [False, True], lambda v: str(v).lower()),
                (pa.date32(), [date(2026, 1, 1), date(1969, 1, 1)], str),
                (pa.binary(), [b"k", b"l"], bytes.decode),
            ]
        )
        kind = pa.map_(key, pa.float64())
        json_of = lambda v: Json({shown(k): float_value(x) if x is not None else None for k, x in v})
        one = lambda v: next((float_value(x) for k, x in v if k == keys[0] and x is not None), None)
        columns = [(name, '"text"', json_of), (f"{name}_one", path('"float64"', [name, shown(keys[0])]), one)]
        make = lambda: [(k, rng.choice([None, 0.5, float("inf")])) for k in rng.sample(keys, rng.randrange(3))]
        return kind, make, columns

    def scalar(self, name):
        rng, pa = self.rng, self.pa
        choice = rng.randrange(3)
        if choice == 0:
            self.word = '"text"'
            return pa.binary(), lambda: rng.choice([b"a", "ä".encode()] + [b"\xfe"] * (rng.random() < 0.1)), text_or_refused
        if choice == 1:
            self.word = '"int64"'
            return pa.int16(), lambda: rng.randrange(-99, 99), lambda v: v
        self.word = '"timestamp"'
        far = [10**16] if rng.random() < 0.3 else []
        return pa.timestamp("ms"), lambda: rng.choice([0, -1, 10**12] + far), lambda v: moment(v, "ms", False)

    def times(self, name):
        rng, pa = self.rng, self.pa
        unit, zone = rng.choice(["ms", "us", "ns"]), rng.choice([None, None, "UTC", "Europe/Berlin"])
        scale = {"ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
        # Times near clock changes, as local and as UTC times, and the limits of the range.
        near = [(at // 10**6 + off) * scale for at in (FORWARD, BACK) for off in (-1, 0, 1, 1800, 3599, 3600, 7199, 7200)]
        ends = [-1, 0, -1_500, 1_500] + ([9_300_000_000_000_000] if unit == "ms" and not self.int96 and rng.random() < 0.3 else [])
        make = lambda: rng.choice(near + ends)
        columns = [(name, '"timestamp"', lambda v: moment(v, unit, False))]
        if zone is None and not self.int96:
            berlin = f'{{ type = "timestamp", path = ["{name}"], zone = "Europe/Berlin" }}'
            columns.append((f"{name}_berlin", berlin, lambda v: moment(v, unit, True)))
            make = lambda: rng.choice(near)
        return pa.timestamp(unit, zone), make, columns


def text_or_refused(value):
    try:
        return value.decode()
    except UnicodeDecodeError:
        return REFUSED


def clock_text(value, scale):
    seconds, fraction = divmod(value, scale)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    nanos = fraction * (10**9 // scale)
    if nanos == 0:
        return text
    if nanos % 10**6 == 0:
        return f"{text}.{nanos // 10**6:03}"
    return f"{text}.{nanos // 1000:06}" if nanos % 1000 == 0 else f"{text}.{nanos:09}"


def parquet(program, folder, rng):
    import pyarrow as pa
    import pyarrow.parquet as pq

    made = Columns(rng, pa)
    made.int96 = rng.random() < 0.2
    rows = rng.choice([1, 7, 400, 3000])
    arrays, columns = {}, []
    for number in range(rng.randrange(1, 7)):
        name = f"c{number}"
        kind, make, own = made.of(name)
        values = [None if rng.random() < 0.2 else make() for _ in range(rows)]
        numbers = pa.types.is_timestamp(kind) or pa.types.is_time(kind)
        arrays[name] = pa.array(values, pa.int64()).cast(kind) if numbers else pa.array(values, kind)
        columns += [(column, word, take, values) for column, word, take in own]
    options = {"compression": rng.choice(["none", "snappy", "zstd"]), "row_group_size": rng.choice([5, 1000, 10**6])}
    options["use_dictionary"] = rng.random() < 0.5
    options["data_page_version"] = rng.choice(["1.0", "2.0"])
    options["store_schema"] = rng.random() < 0.8
    if made.int96:
        options["use_deprecated_int96_timestamps"] = True
    else:
        options["version"] = rng.choice(["2.4", "2.6"]) if not any(str(a.type).startswith("timestamp[ns") for a in arrays.values()) else "2.6"
    pq.write_table(pa.table(arrays), folder / "in.parquet", **options)
    expected, refused = [], 0
    for row in range(rows):
        found = {column: None if values[row] is None else take(values[row]) for column, _, take, values in columns}
        refused += any(value is REFUSED for value in found.values())
        if not any(value is REFUSED for value in found.values()):
            expected.append(found)
    source = 'kind = "file"\npath = "in.parquet"\nformat = "parquet"'
    out, rejected, said = run(program, folder, source, [(column, word) for column, word, _, _ in columns])
    assert len(rejected) == refused, (len(rejected), refused, rejected[:2], said)
    reasons = ("out of range", "does not exist in Europe/Berlin", "not UTF-8")
    assert all(any(reason in row["reason"] for reason in reasons) for row in rejected), rejected[:3]
    compare(out, [], expected, (str(pa.table(arrays).schema), options))
