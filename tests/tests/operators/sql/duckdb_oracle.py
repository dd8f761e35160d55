"""Random queries of all shapes. The program must return the same multiset of rows as DuckDB.

    duckdb_oracle.py PROGRAM FOLDER SEED QUERIES

Each query is a stage of a job with many. A few forms may be rejected, which are counted. Queries that DuckDB does not run are skipped. Prints the differences, and exits with 1 if there are any. `same` accepts the intended differences.
"""

import datetime
import decimal
import json
import os
import random
import re
import subprocess
import sys
import threading
from collections import Counter

sys.dont_write_bytecode = True
import duckdb
from relations import TABLES, Generator

AT_ONCE = 60
TYPES = {"int": "bigint", "text": "varchar", "dec": "decimal(9, 2)", "time": "timestamp", "bool": "boolean"}
SCHEMA = {"int": "int64", "text": "text", "dec": "decimal(9,2)", "time": "timestamp", "bool": "bool"}
VALUES = {
    "int": [0, 1, 1, 2, 2, 3, -1],
    "text": ["p", "q", "P", "", "pq"],
    "dec": ["1.50", "0.25", "-2.05", "3.00", "1.50", "999.99"],
    "time": [
        "1969-12-31T23:59:59.999001", "1970-01-01T00:00:00", "1969-07-20T20:17:40.250000", "2001-09-09T01:46:40", "1960-02-29T00:00:00.000001"],
    "bool": [True, False],
}
# Allowed rejections, by a part of the message.
REFUSED = ["sets of groups cannot be in a subquery that names columns of the outer query", "it is too complex: planning it takes longer"]


def made_tables(rng):
    tables = {}
    for table, columns in TABLES.items():
        rows = []
        for number in range(rng.choice([0, 1, 3, 5, 7])):
            row = {name: None if rng.random() < 0.2 else rng.choice(VALUES[kind]) for name, kind in columns.items()}
            row["id"] = number
            rows.append(row)
        tables[table] = rows
    return tables


def database(tables):
    database = duckdb.connect()
    database.execute("set threads = 1")
    for table, columns in TABLES.items():
        database.execute(f"create table {table} ({', '.join(f'{name} {TYPES[kind]}' for name, kind in columns.items())})")
        for row in tables[table]:
            database.execute(f"insert into {table} values ({', '.join('?' * len(columns))})", [row[name] for name in columns])
    return database


def of_duckdb(text):
    return re.sub(r"\(([^()]*)\)\{in\}", r"(\1 ignore nulls)", text)


def of_program(text):
    return text.replace("{in}", " ignore nulls")


def expected_rows(database, text):
    """Returns DuckDB's rows, or `None` if DuckDB does not run the query."""
    timer = threading.Timer(5, database.interrupt)
    timer.start()
    try:
        return [tuple(map(plain, row)) for row in database.execute(of_duckdb(text)).fetchall()]
    except duckdb.Error:
        return None
    finally:
        timer.cancel()


def plain(value):
    """Normalizes a value. Averages of decimals have four more digits in the program, and are floats in DuckDB."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="microseconds") + "Z"
    return round(float(value), 3) + 0.0


def close(one, other):
    number = lambda value: isinstance(value, float)
    return one == other or number(one) and number(other) and abs(one - other) < 0.0021


def same(wanted, got):
    key = lambda row: tuple((value is None, isinstance(value, str), 0 if value is None else value) for value in row)
    wanted, got = sorted(wanted, key=key), sorted(got, key=key)
    return len(wanted) == len(got) and all(all(map(close, a, b)) for a, b in zip(wanted, got))


def job(queries):
    lines = ['clock = "manual"']
    for table, columns in TABLES.items():
        schema = ", ".join(f'{name} = "{SCHEMA[kind]}"' for name, kind in columns.items())
        lines += [f"[sources.{table}]", 'kind = "queue"', f'path = "{table}.jsonl"', f"schema = {{ {schema} }}"]
    for index, text in queries:
        lines += [f"[stages.s{index}]", 'from = ["a", "b", "c"]', f"sql = '''{of_program(text)}'''"]
        lines += [f"[sinks.o{index}]", f'from = "s{index}"', 'kind = "queue"', f'path = "o{index}.jsonl"']
    return "\n".join(lines) + "\n"


def run(program, folder, queries):
    with open(f"{folder}/job.toml", "w") as file:
        file.write(job(queries))
    for index, _ in queries:
        if os.path.exists(f"{folder}/o{index}.jsonl"):
            os.remove(f"{folder}/o{index}.jsonl")
    ended = subprocess.run([program, "run", "job.toml", "--workers", "1"], cwd=folder, capture_output=True, text=True, timeout=300)
    return ended.returncode, ended.stderr


def rows_of(folder, index):
    path = f"{folder}/o{index}.jsonl"
    lines = open(path).read().splitlines() if os.path.exists(path) else []
    rows = [row for line in lines for row in json.loads(line, parse_float=decimal.Decimal)["rows"]]
    return [tuple(plain(row[f"r{index}"]) for index in range(len(row))) for row in rows]


def main():
    program, folder, seed, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    os.makedirs(folder, exist_ok=True)
    rng = random.Random(seed)
    refused, wrong, skipped, compared, full = Counter(), [], 0, 0, 0
    while count > 0:
        tables = made_tables(rng)
        database_ = database(tables)
        for table, columns in TABLES.items():
            with open(f"{folder}/{table}.jsonl", "w") as file:
                cell = lambda name, value: value + "Z" if columns[name] == "time" and value else value
                rows = [[cell(name, row[name]) for name in columns] for row in tables[table]]
                file.write(json.dumps(rows) + "\n")
        queries = []
        for index in range(min(count, AT_ONCE)):
            count -= 1
            text = Generator(rng).query()
            wanted = expected_rows(database_, text)
            if wanted is None or len(wanted) > 3000:
                skipped += 1
            else:
                queries.append((index, text, wanted))
        while queries:
            code, said = run(program, folder, [(index, text) for index, text, _ in queries])
            if code == 0:
                break
            named = {int(number): message for number, message in re.findall(r"stage `s(\d+)`:? ?(.*)", said)}
            if not named:
                wrong.append(f"ended with {code}: {said[-1500:]}")
                queries = []
            for index, text, wanted in [one for one in queries if one[0] in named]:
                message = named[index]
                if code == 2 and any(part in message for part in REFUSED):
                    refused[message] += 1
                else:
                    wrong.append(f"{json.dumps(tables)}\n{of_program(text)}\n  ended with {code}: {message}")
            queries = [one for one in queries if one[0] not in named]
        for index, text, wanted in queries:
            got = rows_of(folder, index)
            compared += 1
            full += bool(wanted)
            if not same(wanted, got):
                missing = list((Counter(wanted) - Counter(got)).elements())[:5]
                more = list((Counter(got) - Counter(wanted)).elements())[:5]
                wrong.append(f"{json.dumps(tables)}\n{of_program(text)}\n  missing {missing}\n  too many {more}")
    print(f"seed {seed}: {compared} compared ({full} with rows), {skipped} not run by DuckDB, {sum(refused.values())} refused, {len(wrong)} wrong")
    for line in wrong:
        print(line)
    for message, times in refused.most_common():
        print(f"refused {times}: {message}")
    sys.exit(1 if wrong else 0)


main()
