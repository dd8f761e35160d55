"""Measures calls from Python on 10,000 rows, compared with pyarrow.compute and a loop in Python.

    overhead.py [<rows>]

Prints a table: the time of a call for each variant, and for plugins the part of it that is spent neither in the plugin nor on
converting rows.
"""

import sys
import time
from pathlib import Path

import millstream
import pyarrow as pa
import pyarrow.compute as pc

ROOT = Path(__file__).resolve().parents[2]
ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000


def best(work, seconds: float = 1.0) -> float:
    """Returns the median duration of many calls, in microseconds."""
    work()
    times, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter_ns()
        work()
        times.append(time.perf_counter_ns() - began)
    return sorted(times)[len(times) // 2] / 1000


def print_row(name: str, us: float, rest: str = "") -> None:
    print(f"| {name} | {us:,.0f} | {us * 1000 / ROWS:,.0f} | {rest} |")


def plugin(name: str, used: millstream.Plugin, work) -> None:
    work()
    times, until = [], time.perf_counter() + 1.0
    before = within(used)
    while time.perf_counter() < until:
        began = time.perf_counter_ns()
        work()
        ended = time.perf_counter_ns()
        after = within(used)
        times.append((ended - began, ended - began - (after - before)))
        before = after
    calls, rests = (sorted(column)[len(times) // 2] / 1000 for column in zip(*times, strict=True))
    print_row(name, calls, f"{rests:,.0f}")


def within(used: millstream.Plugin) -> int:
    costs = used.costs
    return costs["guest_ns"] + costs["host_ns"]


def main() -> None:
    print(f"| {ROWS:,} rows | µs per call | ns per row | µs besides the plugin's call |")
    print("|---|---|---|---|")
    lines = pa.table({"value": ["to be or"] * ROWS})
    for instance in ("batch", "worker"):
        split = millstream.Plugin(ROOT / "plugins" / "split-words", instance=instance)
        plugin(f"`split-words`, `instance=\"{instance}\"`", split, lambda: split.process(lines))
    print_row("`pyarrow.compute`: split and flatten", best(lambda: pc.list_flatten(pc.utf8_split_whitespace(lines["value"]))))
    print_row("a loop in Python", best(lambda: pa.array([word for line in lines["value"].to_pylist() for word in line.split()])))
    sums = pa.table({"n": range(ROWS)})
    total = millstream.Plugin(ROOT / "plugins" / "sum", config={"column": "n"}, instance="worker")
    plugin("`sum`", total, lambda: total.aggregate(sums))
    print_row("`pyarrow.compute`: sum", best(lambda: pc.sum(sums["n"])))
    print_row("a loop in Python", best(lambda: sum(sums["n"].to_pylist())))


if __name__ == "__main__":
    main()
