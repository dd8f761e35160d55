"""Random expressions and queries over extreme values. The program must compute the same as Python, row by row.

    oracle.py PROGRAM FOLDER SEED QUERIES

Each query is a stage of one job. A query that must stop its job, for example because of an overflow, has a separate job. Prints the
differences, and exits with 1 if there are any. Uses neither the program nor its libraries.
"""

import datetime
import json
import math
import os
import random
import re
import subprocess
import sys

sys.dont_write_bytecode = True
from expressions import FLOATS, INF, NAN, TEXTS, TIMES, WHOLE, Fails, Maker, Unsure, canonical, compared, whole


# Aggregates of a list of values, in the order of their rows.


def total(values):
    """Returns a sum of floats, and the maximum error if the order of additions differs."""
    if not values:
        return None, 0
    if any(math.isnan(v) for v in values) or (INF in values and -INF in values):
        return NAN, 0
    if sum(abs(v) for v in values if not math.isinf(v)) > 1e308:
        raise Unsure
    if INF in values or -INF in values:
        return (INF if INF in values else -INF), 0
    return math.fsum(values), 1e-13 * len(values) * math.fsum(map(abs, values))


def average(values):
    result, error = total([float(v) for v in values])
    return (None, 0) if result is None else (result / len(values), 2 * error / len(values))


def distinct(values):
    return list({compared(v): v for v in values}.values())


def aggregate(name, values):
    """Returns `(value, error)` of values without nulls."""
    if name == "count":
        return len(values), 0
    if name == "count distinct":
        return len(distinct(values)), 0
    if not values:
        return None, 0
    if name in ("min", "max"):
        return canonical({"min": min, "max": max}[name](values, key=compared)), 0
    if name == "avg":
        return average(values)
    values = distinct(values) if name == "sum distinct" else values
    return total(values) if isinstance(values[0], float) else (whole(sum(values)), 0)


AGGREGATES = {
    "int": ["count", "sum", "sum", "avg", "min", "max", "count distinct", "sum distinct"],
    "float": ["count", "sum", "sum", "avg", "avg", "min", "max", "count distinct"],
    "text": ["count", "min", "max", "count distinct"],
    "time": ["count", "min", "max", "count distinct"],
    "bool": ["count"],
}


def shown(kind, text):
    return f"cast({text} as bigint)" if kind == "time" else text


class Query:
    """A stage: its lines, and a function from a batch's rows to the expected rows, as `{key: (value, error)}` or a list."""

    def __init__(self, rng):
        self.rng, self.maker = rng, Maker(rng)
        self.kind = rng.choice(["int", "int", "float", "float", "text", "time", "bool"])
        self.text, self.value = self.maker.make(self.kind, rng.randint(1, 4))
        self.keys = None
        form = rng.choice([self.plain, self.plain, self.grouped, self.framed, self.framed, self.ranked, self.joined, self.keyed,
                           self.within, self.first, self.distinct])
        self.lines, self.expected = form()

    def plain(self):
        if self.rng.random() < 0.5:
            test, holds = self.maker.make("bool", 2)

            def expected(rows):
                kept = [row for row in rows if holds(row) is True]
                return [(row["id"], (self.value(row), 0)) for row in kept]

            return f"select id, {shown(self.kind, self.text)} as x from rows where {test}", expected
        return f"select id, {shown(self.kind, self.text)} as x from rows", lambda rows: [
            (row["id"], (self.value(row), 0)) for row in rows]

    def within(self):
        kind = self.rng.choice(["int", "float", "text", "time"])
        (a, x), (b, y) = self.maker.make(kind, 1), self.maker.make(kind, 1)
        few = "where id % 5 = 0" if self.rng.random() < 0.7 else ""

        def expected(rows):
            values = [y(row) for row in rows if not few or row["id"] % 5 == 0]
            values = {compared(value) for value in values if value is not None}
            kept = [row for row in rows if x(row) is not None and compared(x(row)) in values]
            return [(row["id"], (1, 0)) for row in kept]

        word = self.rng.choice([f"{a} in (select {b} from rows {few})", f"{a} = any (select {b} from rows {few})"])
        return f"select id, 1 as x from rows where {word}", expected

    def first(self):
        order, ordered, sort = self.order()
        count = self.rng.choice([1, 5, 24])

        def expected(rows):
            first = sort([(row["id"], ordered(row)) for row in rows])[:count]
            return [(row[0], (1, 0)) for row in first]

        return f"select id, 1 as x from rows order by {order}, id limit {count}", expected

    def distinct(self):
        def expected(rows):
            return [(key, (1, 0)) for key in distinct([self.value(row) for row in rows])]

        return f"select {shown(self.kind, 'k')} as id, 1 as x from (select distinct {self.text} as k from rows)", expected

    def called(self):
        name = self.rng.choice(AGGREGATES[self.kind])
        text = f"{name.split()[0]}({'distinct ' if ' ' in name else ''}{self.text})"
        return name, shown(self.kind if name in ("min", "max") else "int", text)

    def grouped(self):
        name, call = self.called()
        kind = self.rng.choice(["int", "float", "text", "time", "bool"])
        by, key = self.maker.make(kind, self.rng.randint(0, 2))

        def expected(rows):
            groups = {}
            for row in rows:
                groups.setdefault(compared(key(row)), (canonical(key(row)), []))[1].append(self.value(row))
            return [(key, aggregate(name, [v for v in values if v is not None])) for key, values in groups.values()]

        return f"select {shown(kind, 'k')} as id, {call} as x from (select *, {by} as k from rows) group by k", expected

    def keyed(self):
        column = self.rng.choice(["i", "f", "g", "t", "at"])
        function, of, kind = self.rng.choice([
            ("count", "j", "int"), ("sum", "j", "int"), ("min", "g", "float"), ("max", "f", "float"), ("sum", "f", "float"),
            ("avg", "g", "float"), ("max", "u", "text"), ("min", "bt", "time")])

        def expected(rows):
            groups = {}
            for row in rows:
                groups.setdefault(compared(row[column]), (canonical(row[column]), []))[1].append(row[of])
            return [(key, aggregate(function, [v for v in values if v is not None])) for key, values in groups.values()]

        self.keys = column
        if self.rng.random() < 0.5:
            made = f"{function}({of})"
            return (f'key = "{column}"\naggregate = {{ x = "{made}" }}', expected)
        return (f'key = "{column}"\nsql = "select {column}, {function}({of}) as x from rows group by {column}"', expected)

    def order(self):
        kind = self.rng.choice(["int", "float", "text", "time"])
        by, key = "0", None
        while by.isdigit():  # `order by 1` means the first column.
            by, key = self.maker.make(kind, self.rng.randint(0, 2))
        down = self.rng.random() < 0.4

        def sort(values):
            """Sorts rows by the key, and by id if equal. Nulls are the largest."""
            nulls = [row for row in values if row[1] is None]
            others = sorted((row for row in values if row[1] is not None), key=lambda row: row[0])
            others.sort(key=lambda row: compared(row[1]), reverse=down)
            return nulls + others if down else others + nulls

        return by + (" desc" if down else ""), key, sort

    def windowed(self, pick, uses_value=True):
        """For each row of a sorted partition, computes `pick(rows, index)`."""
        kind = self.rng.choice(["int", "float", "text", "bool"])
        by, key = self.maker.make(kind, self.rng.randint(0, 1))
        order, ordered, sort = self.order()

        def expected(rows):
            parts, made = {}, []
            for row in rows:
                value = self.value(row) if uses_value else None
                parts.setdefault(compared(key(row)), []).append((row["id"], ordered(row), value))
            for part in parts.values():
                part = sort(part)
                made += [(row[0], pick(part, index)) for index, row in enumerate(part)]
            return made

        return by, order, expected

    def framed(self):
        name, call = self.called()
        start = self.rng.choice([None, -3, -1, 0, 1])
        end = self.rng.choice([None, *[at for at in (-1, 0, 1, 2) if start is None or at >= start]])
        peers = self.rng.random() < 0.25
        if peers:
            start, end = None, 0

        def bound(at, far):
            return f"unbounded {far}" if at is None else "current row" if at == 0 else f"{abs(at)} {'preceding' if at < 0 else 'following'}"

        def pick(part, index):
            first = 0 if start is None else max(index + start, 0)
            last = len(part) - 1 if end is None else index + end
            if peers:
                same = [at for at, row in enumerate(part) if compared(row[1]) == compared(part[index][1])]
                last = same[-1]
            values = [row[2] for row in part[first:max(last + 1, 0)]]
            return aggregate(name, [value for value in values if value is not None])

        by, order, expected = self.windowed(pick)
        frame = f"{'range' if peers else 'rows'} between {bound(start, 'preceding')} and {bound(end, 'following')}"
        order = order if peers else order + ", id"
        over = f"over (partition by {by} order by {order} {frame})"
        call = call[:-len(" as bigint)")] + f" {over} as bigint)" if call.startswith("cast(m") else f"{call} {over}"
        return f"select id, {call} as x from rows", expected

    def ranked(self):
        name = self.rng.choice(["row_number()", "rank()", "dense_rank()", "lag", "lead", "first_value", "ntile(3)"])
        count = self.rng.choice([0, 1, 2, 50])

        def pick(part, index):
            keys = [compared(row[1]) for row in part]
            if name == "row_number()":
                return index + 1, 0
            if name == "rank()":
                return keys.index(keys[index]) + 1, 0
            if name == "dense_rank()":
                return len(set(keys[: index + 1])), 0
            if name == "ntile(3)":
                size, more = divmod(len(part), 3)
                return next(n for n in (1, 2, 3) if index < n * size + min(n, more)), 0
            if name == "first_value":
                return part[0][2], 0
            at = index - count if name == "lag" else index + count
            return (part[at][2] if 0 <= at < len(part) else None), 0

        by, order, expected = self.windowed(pick, uses_value=not name.endswith(")"))
        order = order if name in ("rank()", "dense_rank()") else order + ", id"
        over = f"over (partition by {by} order by {order})"
        if name.endswith(")"):
            return f"select id, {name} {over} as x from rows", expected
        call = f"{name}({self.text})" if name == "first_value" else f"{name}({self.text}, {count})"
        return f"select id, {shown(self.kind, f'{call} {over}')} as x from rows", expected

    def joined(self):
        kind = self.rng.choice(["int", "float", "text", "time"])
        (a, x), (b, y) = self.maker.make(kind, 1), self.maker.make(kind, 1)

        def expected(rows):
            left, right = [(row["id"], x(row)) for row in rows], [(row["id"], y(row)) for row in rows]
            pairs = [(p, q) for p, v in left for q, w in right if v is not None and w is not None and compared(v) == compared(w)]
            return [(p * 1000 + q, (1, 0)) for p, q in pairs]

        return (f"select a.id * 1000 + b.id as id, 1 as x from (select id, {a} as k from rows) a "
                f"join (select id, {b} as k from rows) b on a.k = b.k"), expected


def job(queries):
    text = 'clock = "manual"\n[sources.rows]\nkind = "queue"\npath = "input.jsonl"\nschema = { id = "int64", i = "int64", j = "int64", '
    text += 'f = "float64", g = "float64", t = "text", u = "text", at = "timestamp", bt = "timestamp", b = "bool" }\n'
    for index, query in queries:
        stage = query.lines if query.keys else f"sql = '''{query.lines}'''"
        text += f'[stages.s{index}]\nfrom = "rows"\n{stage}\n'
        text += f'[sinks.o{index}]\nfrom = "s{index}"\nkind = "queue"\npath = "o{index}.jsonl"\n'
    return text


NAMES = ["id", "i", "j", "f", "g", "t", "u", "at", "bt", "b"]


def made_rows(rng, first, count):
    tame = rng.random() < 0.6
    pools = {"i": WHOLE, "f": FLOATS, "t": TEXTS, "a": TIMES, "b": [True, False]}
    if tame:
        pools.update(i=[0, 1, -1, 2, 7, -3, 64], f=[0.0, -0.0, 1.0, -1.5, 0.1, 1e16, NAN, 3.0])
    rows = []
    for number in range(first, first + count):
        row = {"id": number}
        for name, pool in zip(NAMES[1:], [pools[key] for key in "iifft"] + [TEXTS, TIMES, TIMES, pools["b"]]):
            row[name] = None if rng.random() < 0.12 else rng.choice(pool)
        rows.append(row)
    return rows


def cell(name, value):
    if isinstance(value, float) and (math.isnan(value) or math.isinf(value)):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if name in ("at", "bt") and value is not None:
        at = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=value)
        return at.isoformat(timespec="microseconds") + "Z"
    return value


def run(program, folder, queries, rng, batches):
    """Runs the job. Returns its exit code, its messages, and the rows of each query by batch."""
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/job.toml", "w") as file:
        file.write(job(queries))
    with open(f"{folder}/input.jsonl", "w") as file:
        for rows in batches:
            file.write(json.dumps([[cell(name, row[name]) for name in NAMES] for row in rows]) + "\n")
    for index, _ in queries:
        if os.path.exists(f"{folder}/o{index}.jsonl"):
            os.remove(f"{folder}/o{index}.jsonl")
    ended = subprocess.run([program, "run", "job.toml", "--workers", str(rng.randint(1, 3))], cwd=folder, capture_output=True, text=True, timeout=120)
    made = {}
    for index, _ in queries:
        path = f"{folder}/o{index}.jsonl"
        lines = open(path).read().splitlines() if os.path.exists(path) else []
        made[index] = [json.loads(line)["rows"] for line in lines]
    return ended.returncode, ended.stderr, made


def value_of(got):
    return {"NaN": NAN, "Infinity": INF, "-Infinity": -INF}.get(got, got) if isinstance(got, str) else got


def agrees(wanted, error, got):
    if isinstance(wanted, float):
        got = value_of(got)
        if got is None or isinstance(got, str):
            return False
        if math.isnan(wanted) or math.isinf(wanted) or math.isnan(got) or math.isinf(got):
            return compared(wanted) == compared(float(got))
        return abs(wanted - got) <= error
    return type(wanted) is type(got) and wanted == got


def key_of(value):
    """Returns a key in a form that is equal for the program's and for Python's value."""
    value = value_of(value) if not isinstance(value, str) else value
    return repr(float(value) + 0.0) if isinstance(value, float) else repr(value)


def compare(query, rows, wanted, got):
    """Describes the difference, if any."""
    column = query.keys or "id"
    as_key = lambda value: cell(column, canonical(value))
    keyed = sorted((key_of(as_key(key)), value) for key, value in wanted)
    made = sorted(((key_of(row[column]), row["x"]) for row in got), key=lambda pair: pair[0])
    if [key for key, _ in keyed] != [key for key, _ in made]:
        return f"rows {[key for key, _ in made]}, wanted {[key for key, _ in keyed]}"
    for (key, (value, error)), (_, other) in zip(keyed, made):
        value = cell("at", value) if query.keys and query.lines.count("(bt)") else value
        if not agrees(value, error, other):
            return f"{key}: {other!r}, wanted {value!r} (within {error})"
    return None


def main():
    program, folder, seed, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    rng = random.Random(seed)
    batches = [made_rows(rng, 0, 25), made_rows(rng, 100, 25)]
    good, failing, unsure = [], [], 0
    for index in range(count):
        query = Query(rng)
        try:
            good.append((index, query, [query.expected(rows) for rows in batches]))
        except Fails:
            failing.append((index, query))
        except Unsure:
            unsure += 1
    wrong = []
    while True:
        code, said, made = run(program, folder, [(index, query) for index, query, _ in good], rng, batches)
        named = re.search(r"stage `s(\d+)`", said) if code != 0 else None
        culprit = next((one for one in good if named and one[0] == int(named[1])), None)
        if not culprit:
            break
        good.remove(culprit)
        wrong.append(f"s{culprit[0]} ended with {code}: {culprit[1].lines}\n  {said[-800:]}")
    if code != 0:
        wrong.append(f"ended with {code}: {said[-2000:]}")
    else:
        for index, query, answers in good:
            for rows, wanted, got in zip(batches, answers, made[index]):
                differs = compare(query, rows, wanted, got)
                if differs:
                    wrong.append(f"s{index}: {query.lines}\n  {differs}")
                    break
    for index, query in failing[:max(count // 20, 2)]:
        code, said, made = run(program, f"{folder}/f{index}", [(index, query)], rng, batches)
        if code not in (1, 2) or "panicked" in said or "bug in Millstream" in said:
            wrong.append(f"s{index} ended with {code}, and must fail: {query.lines}\n  {said[-800:]}")
    print(f"seed {seed}: {len(good)} computed, {len(failing)} must fail, {unsure} unsure, {len(wrong)} wrong")
    for line in wrong:
        print(line)
    sys.exit(1 if wrong else 0)


main()
