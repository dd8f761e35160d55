"""Random queries of all shapes over three small tables: joins, subqueries, groups, sets and window functions.

`Generator(rng).query()` returns the text of a query. Its rows depend only on the tables, even if it has a `limit`. The text has `{in}`
after arguments of window functions that ignore nulls, since systems write this differently.
"""

TABLES = {
    "a": {"id": "int", "k": "int", "v": "int", "t": "text", "d": "dec", "ts": "time", "f": "bool"},
    "b": {"id": "int", "k": "int", "w": "int", "t": "text", "d": "dec"},
    "c": {"id": "int", "k": "int", "x": "int", "ts": "time"},
}
ZEROS = {"int": "0", "text": "'p'", "dec": "1.5", "time": "timestamp '1970-01-01T00:00:00'", "bool": "true"}
CONSTANTS = {
    "int": ["0", "1", "2", "3", "-1", "null"],
    "text": ["'p'", "'q'", "''", "null"],
    "dec": ["1.50", "0.25", "-2.05", "3.00"],
    "time": [
        "timestamp '1969-12-31T23:59:59.999001'", "timestamp '1970-01-01T00:00:00'", "timestamp '1969-07-20T20:17:40.25'",
        "timestamp '2001-09-09T01:46:40'",
    ],
    "bool": ["true", "false", "null"],
}
COMPARISONS = ["=", "=", "=", "<>", "<", ">", "<=", ">="]


class Scope:
    """Columns that an expression may name, as `(text, kind)`, and the scope of the outer query."""

    def __init__(self, columns, outer=None, unique=None):
        self.columns, self.outer, self.unique = columns, outer, unique

    def all(self):
        return self.columns + (self.outer.all() if self.outer else [])


class Generator:
    def __init__(self, rng):
        self.rng, self.names = rng, 0

    def chance(self, share):
        return self.rng.random() < share

    def name(self, begin):
        self.names += 1
        return f"{begin}{self.names}"

    def query(self):
        self.names = 0
        return self.whole(None, self.rng.choice([1, 2, 2, 3]))[0]

    # Queries: the text, and the kinds of the columns, which are named r0, r1 …

    def whole(self, outer, depth, kinds=None):
        if self.chance(0.12):
            return self.combined(outer, depth, kinds)
        text, made = self.select(outer, depth, kinds)
        return self.ended(text, made, 0.12)

    def ended(self, text, kinds, share):
        if not self.chance(share):
            return text, kinds
        order = ", ".join(f"{place + 1}{self.direction()}" for place in range(len(kinds)))
        text += f" order by {order}"
        if self.chance(0.8):
            text += f" limit {self.rng.choice([1, 2, 3])}" if self.chance(0.8) else ""
            text += f" offset {self.rng.choice([1, 2])}" if self.chance(0.4) else ""
        return text, kinds

    def direction(self):
        return self.rng.choice([" nulls last", " nulls first", " desc nulls last", " desc nulls first"])

    def combined(self, outer, depth, kinds=None):
        kinds = kinds or [self.rng.choice(["int", "text", "int"]) for _ in range(self.rng.choice([1, 1, 2]))]
        word = self.rng.choice(["union", "union all", "intersect", "except"])
        parts = [self.select(outer, depth - 1, kinds)[0] for _ in range(2)]
        return self.ended(f" {word} ".join(parts), kinds, 0.2)

    def select(self, outer, depth, kinds=None):
        if depth <= 0:
            return self.plain(outer, 0, kinds)
        form = self.rng.choice([self.plain, self.plain, self.plain, self.grouped, self.grouped, self.windowed])
        return form(outer, depth, kinds)

    def listed(self, scope, depth, kinds, free=False):
        """Returns the columns of a result."""
        kinds = kinds or [self.rng.choice(list(ZEROS)) for _ in range(self.rng.choice([1, 2, 2, 3]))]
        parts = [f"{self.value(kind, scope, depth)} as r{place}" for place, kind in enumerate(kinds)]
        return ", ".join(parts), kinds

    def plain(self, outer, depth, kinds=None):
        source, scope = self.source(outer, depth)
        distinct = "distinct " if self.chance(0.12) else ""
        list_, kinds = self.listed(scope, depth, kinds)
        return f"select {distinct}{list_} from {source}{self.where(scope, depth)}", kinds

    def where(self, scope, depth, share=0.75):
        return f" where {self.test(scope, depth)}" if self.chance(share) else ""

    def grouped(self, outer, depth, kinds=None):
        source, scope = self.source(outer, depth)
        where = self.where(scope, depth)
        wanted = kinds or [self.rng.choice(["int", "dec", "text", "int"]) for _ in range(self.rng.choice([1, 2, 3]))]
        if self.chance(0.3):
            made = [self.total(kind, scope) for kind in wanted]
            having = f" having {self.having(scope)}" if self.chance(0.35) else ""
            list_ = ", ".join(f"{text} as r{place}" for place, text in enumerate(made))
            return f"select {list_} from {source}{where}{having}", wanted
        groups = self.rng.sample(scope.columns, min(len(scope.columns), self.rng.choice([1, 1, 2])))
        inside = Scope(groups, outer)
        made = []
        for kind in wanted:
            known = [text for text, own in groups if own == kind]
            if known and self.chance(0.5):
                made.append(self.rng.choice(known))
            elif depth > 0 and self.chance(0.15):
                made.append(self.scalar(kind, inside, depth - 1))
            else:
                made.append(self.total(kind, scope))
        by = ", ".join(text for text, _ in groups)
        if self.chance(0.1):
            by = self.rng.choice([f"rollup({by})", f"cube({by})"])
        having = ""
        if self.chance(0.4):
            having = self.having(scope)
            if depth > 0 and self.chance(0.35):
                having = self.joined([having, self.subtest(inside, depth - 1)])
            having = f" having {having}"
        list_ = ", ".join(f"{text} as r{place}" for place, text in enumerate(made))
        return f"select {list_} from {source}{where} group by {by}{having}", wanted

    def total(self, kind, scope):
        of = lambda kind: self.named(kind, Scope(scope.columns)) or ZEROS[kind]
        filter_ = f" filter (where {self.test(Scope(scope.columns), 0)})" if self.chance(0.15) else ""
        if kind == "int":
            any_ = of(self.rng.choice(list(ZEROS)))
            call = self.rng.choice([
                "count(*)", "count(*)", f"count({any_})", f"count(distinct {any_})", f"sum({of('int')})", f"max({of('int')})", f"min({of('int')})"])
        elif kind == "dec":
            call = self.rng.choice([f"sum({of('dec')})", f"max({of('dec')})", f"avg({of('dec')})"])
        elif kind == "bool":
            call = self.rng.choice(["bool_and", "bool_or"]) + f"({of('bool')})"
        else:
            call = self.rng.choice(["max", "min"]) + f"({of(kind)})"
        return call + filter_

    def having(self, scope):
        return f"{self.total('int', scope)} {self.rng.choice(COMPARISONS)} {self.rng.choice(['0', '1', '2', '3'])}"

    def windowed(self, outer, depth, kinds=None):
        """Returns window functions over one table, whose `id` orders its rows."""
        table = self.rng.choice(list(TABLES))
        alias = self.name(table)
        scope = Scope([(f"{alias}.{column}", kind) for column, kind in TABLES[table].items()], outer)
        kinds = kinds or [self.rng.choice(["int", "text", "dec"]) for _ in range(self.rng.choice([1, 2]))]
        made = [self.over(kind, scope, alias) for kind in kinds]
        list_ = ", ".join(f"{text} as r{place}" for place, text in enumerate(made))
        return f"select {list_} from {table} {alias}{self.where(scope, depth, 0.4)}", kinds

    def over(self, kind, scope, alias):
        own = Scope(scope.columns)
        by = ""
        if self.chance(0.6):
            by = f"partition by {self.rng.choice(own.columns)[0]} "
        order = f"order by {self.rng.choice(own.columns)[0]}{self.direction()}, {alias}.id{self.direction()}"
        value = self.named(kind, own) or ZEROS[kind]
        ignored = "{in}" if self.chance(0.4) else ""
        if self.chance(0.45):
            name = self.rng.choice(["lead", "lag"])
            if self.chance(0.5):
                return f"{name}({value}, {self.rng.choice([0, 1, 2, 3])}){ignored} over ({by}{order})"
            if self.chance(0.3):
                return f"{name}({value}, {self.rng.choice([1, 2])}, {ZEROS[kind]}){ignored} over ({by}{order})"
            return f"{name}({value}){ignored} over ({by}{order})"
        frame = self.rng.choice(["", "", self.frame()])
        if self.chance(0.3):
            name = self.rng.choice(["first_value", "last_value"])
            return f"{name}({value}){ignored} over ({by}{order}{frame})"
        if kind == "int" and self.chance(0.5):
            peers = f"order by {self.rng.choice(own.columns)[0]}{self.direction()}"
            return self.rng.choice([
                f"row_number() over ({by}{order})", f"rank() over ({by}{peers})", f"dense_rank() over ({by}{peers})",
                f"ntile({self.rng.choice([1, 2, 3])}) over ({by}{order})", f"sum({value}) over ({by}{peers})", f"count(*) over ({by}{peers})",
            ])
        total = self.total(kind, own)
        if "distinct" in total:
            total = "count(*)"
        return f"{total} over ({by}{order}{frame})"

    def frame(self):
        words = lambda at: "current row" if at == 0 else f"{abs(at)} {'preceding' if at < 0 else 'following'}"
        start = self.rng.choice([None, -2, -1, 0, 1])
        end = self.rng.choice([None, *[at for at in (-1, 0, 1, 2) if start is None or at >= start]])
        start = "unbounded preceding" if start is None else words(start)
        end = "unbounded following" if end is None else words(end)
        return f" rows between {start} and {end}"

    # Items of `from`: the text, and the scope that they add.

    def table(self, outer, depth):
        if depth > 0 and self.chance(0.18):
            alias = self.name("q")
            text, kinds = self.whole(None, depth - 1)
            return f"({text}) {alias}", {f"r{place}": kind for place, kind in enumerate(kinds)}, alias
        table = self.rng.choice(list(TABLES))
        alias = self.name(table)
        return f"{table} {alias}", TABLES[table], alias

    def source(self, outer, depth):
        text, columns, alias = self.table(None, depth)
        own = [(f"{alias}.{name}", kind) for name, kind in columns.items()]
        names = set(columns)
        # Whether `using` finds each column only once.
        plain = True
        for _ in range(self.rng.choice([0, 0, 0, 1, 1, 2])):
            more, others, alias = self.table(None, depth)
            new = [(f"{alias}.{name}", kind) for name, kind in others.items()]
            form = self.rng.choice(["on", "on", "on", "using", "natural", "cross", "lateral"])
            kind = self.rng.choice(["", "left ", "right ", "full "])
            if form == "using" and plain and "k" in names and "k" in others:
                text = f"{text} {kind}join {more} using (k)"
                own = [one for one in own if not one[0].endswith(".k")] + [one for one in new if not one[0].endswith(".k")]
                own.append(("k", "int"))
                names |= set(others)
                continue
            if form == "natural" and plain and self.chance(0.5) and set(names) & set(others) and not text.startswith("("):
                shared = names & set(others)
                if all(others[one] == kind_ for one in shared for name, kind_ in own if name.split(".")[-1] == one):
                    text = f"{text} natural {kind}join {more}"
                    rest = lambda list_: [one for one in list_ if one[0].split(".")[-1] not in shared]
                    own = rest(own) + rest(new) + [(one, others[one]) for one in sorted(shared)]
                    names |= set(others)
                    continue
            plain = False
            # The name without a table would be ambiguous.
            own = [one for one in own if "." in one[0] or one[0] not in others]
            if form == "cross":
                text, own = f"{text} cross join {more}", own + new
                continue
            if form == "lateral" and depth > 0 and not any("." not in name for name, _ in own):
                alias = self.name("l")
                inner, kinds = self.whole(Scope(own), depth - 1)
                new = [(f"{alias}.r{place}", kind_) for place, kind_ in enumerate(kinds)]
                before, after = self.rng.choice([("cross join", ""), ("left join", " on true")])
                text = f"{text} {before} lateral ({inner}) {alias}{after}"
                own = own + new
                continue
            both = Scope(own + new, outer)
            condition = self.equality(own, new) if self.chance(0.75) else self.test(Scope(own + new), 0)
            if self.chance(0.25):
                condition = f"{condition} and {self.test(both if outer and self.chance(0.4) else Scope(own + new), 0)}"
            if depth > 0 and self.chance(0.1):
                condition += f" and {self.subtest(Scope(new if kind else own + new), depth - 1)}"
            text, own = f"{text} {kind}join {more} on {condition}", own + new
            names |= set(others)
        return text, Scope(own, outer)

    def equality(self, left, right):
        pairs = [(a, b) for a, kind in left for b, other in right if kind == other]
        if not pairs:
            return "true"
        a, b = self.rng.choice(pairs)
        return f"{a} = {b}"

    # Expressions.

    def named(self, kind, scope, outer=0.5):
        own = [text for text, other in scope.columns if other == kind]
        around = [text for text, other in (scope.outer.all() if scope.outer else []) if other == kind]
        if around and (not own or self.chance(outer)):
            return self.rng.choice(around)
        return self.rng.choice(own) if own else None

    def value(self, kind, scope, depth=0, outer=0.15):
        if depth > 0 and self.chance(0.12):
            return self.scalar(kind, scope, depth - 1)
        if kind == "bool" and self.chance(0.7):
            return f"({self.test(scope, depth)})"
        name = self.named(kind, scope, outer)
        if name is None or self.chance(0.1):
            return self.rng.choice(CONSTANTS[kind])
        if self.chance(0.7):
            return name
        if kind == "int":
            return self.rng.choice([f"{name} + 1", f"{name} * 2", f"{name} - {self.named('int', scope, outer)}", f"coalesce({name}, 0)", f"-{name}", f"abs({name})",
                                    f"case when {self.test(scope, 0)} then {name} end"])
        if kind == "dec":
            return self.rng.choice([f"{name} + 1.25", f"{name} * 2", f"floor({name})", f"ceil({name})", f"abs({name})", f"coalesce({name}, 0.5)"])
        if kind == "text":
            return self.rng.choice([f"upper({name})", f"{name} || 'x'", f"coalesce({name}, 'none')", f"nullif({name}, 'p')"])
        if kind == "time":
            return self.rng.choice([f"date_trunc('{self.rng.choice(['millisecond', 'second', 'minute', 'hour', 'day', 'month', 'year'])}', {self.rng.choice([name, *CONSTANTS['time']])})",
                                    f"{name} + interval '1 day'", f"coalesce({name}, {ZEROS['time']})"])
        return f"not {name}"

    def joined(self, tests):
        return "(" + self.rng.choice([" and ", " or "]).join(tests) + ")"

    def test(self, scope, depth):
        """Returns a condition."""
        if depth > 0 and self.chance(0.5):
            part = self.subtest(scope, depth - 1)
            if self.chance(0.45):
                return part
            return self.joined([part, self.test(scope, depth - 1)])
        choice = self.rng.random()
        if choice < 0.12:
            return self.joined([self.test(scope, 0), self.test(scope, 0)])
        if choice < 0.2:
            return f"not ({self.test(scope, 0)})"
        kind = self.rng.choice(["int", "int", "int", "text", "dec", "time"])
        left, right = self.value(kind, scope, 0, 0.3), self.value(kind, scope, 0, 0.6)
        if choice < 0.27:
            return f"{left} is {self.rng.choice(['', 'not '])}null"
        if choice < 0.34:
            return f"({left} is {self.rng.choice(['', 'not '])}distinct from {right})"
        if choice < 0.4:
            word = self.rng.choice(["true", "false", "not true", "not false"])
            flag = self.named("bool", scope, 0.3) or f"({left} = {right})"
            return f"({flag} is {word})"
        if choice < 0.46:
            return f"{left} {self.rng.choice(['', 'not '])}in ({right}, {self.value(kind, scope, 0, 0.3)})"
        return f"{left} {self.rng.choice(COMPARISONS)} {right}"

    def subtest(self, scope, depth):
        """Returns a condition with a subquery."""
        form = self.rng.choice(["exists", "exists", "in", "in", "in", "any", "scalar"])
        around = scope if self.chance(0.75) else None
        if form == "exists":
            text = f"{self.rng.choice(['', 'not '])}exists ({self.whole(around, depth)[0]})"
        elif form == "in":
            kind = self.rng.choice(["int", "int", "text", "dec"])
            text = f"{self.value(kind, scope)} {self.rng.choice(['', 'not '])}in ({self.whole(around, depth, [kind])[0]})"
        elif form == "any":
            kind = self.rng.choice(["int", "int", "text"])
            text = f"{self.value(kind, scope)} {self.rng.choice(COMPARISONS)} {self.rng.choice(['any', 'all'])} ({self.whole(around, depth, [kind])[0]})"
        else:
            kind = self.rng.choice(["int", "text", "dec"])
            text = f"{self.value(kind, scope)} {self.rng.choice(COMPARISONS)} {self.scalar(kind, scope, depth)}"
        if self.chance(0.12):
            text = self.rng.choice([f"not ({text})", f"(({text}) is not true)", f"(({text}) is null)", f"case when {text} then true else false end"])
        return text

    def scalar(self, kind, scope, depth):
        """Returns a query with one value."""
        around = scope if self.chance(0.75) else None
        source, inside = self.source(around, depth)
        if self.chance(0.25):
            value = self.value(kind, inside, 0)
            order = f"order by 1{self.direction()}"
            return f"(select {value} as r0 from {source}{self.where(inside, depth)} {order} limit 1{' offset 1' if self.chance(0.2) else ''})"
        total = self.total(kind, inside)
        if kind == "int" and self.chance(0.3):
            total = self.rng.choice([f"{total} + 1", f"coalesce({total}, 7)"])
        having = f" having {self.having(inside)}" if self.chance(0.12) else ""
        return f"(select {total} as r0 from {source}{self.where(inside, depth)}{having})"
