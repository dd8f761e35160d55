"""Reads the output of jobs as rows, which are tuples of strings in the same form for all engines, and compares them."""

import json
import re
from collections import Counter
from datetime import datetime
from pathlib import Path

TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?")
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?")


def normalize(value):
    """A value as a string. Numbers are rounded to three digits, because some engines use decimals, others floating point."""
    text = str(value)
    if TIME.fullmatch(text):
        time = datetime.fromisoformat(text.removesuffix("Z").replace("T", " ")[:26])
        return time.isoformat(" ", "milliseconds")
    if NUMBER.fullmatch(text):
        return f"{float(text):.3f}"
    return text


def read_changes(file):
    """The rows of a file with one line per row: the kind of change, and the values, separated by tabs."""
    for line in Path(file).read_text().splitlines():
        change, *values = line.split("\t")
        yield change in ("+I", "+U"), tuple(map(normalize, values))


def read_json(directory):
    """The rows of the files that Millstream has written, in order."""
    for file in sorted(Path(directory).rglob("*.jsonl")):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            change = row.pop("op", "insert")
            yield change != "delete", tuple(map(normalize, row.values()))


def read_csv(directory):
    """The rows of csv files, with or without a header line."""
    for file in sorted(path for path in Path(directory).rglob("*") if path.is_file()):
        # Skip internal files of the engines.
        if any(part.startswith((".", "_")) for part in file.relative_to(directory).parts):
            continue
        for line in file.read_text().splitlines():
            values = line.replace('"', "").split(",")[:5]
            if values[0].isdigit():
                yield True, tuple(map(normalize, values))


def apply_changes(job, rows):
    """The final rows after all changes, each with its count."""
    found = Counter()
    if job.key:
        last = {}
        for inserted, row in rows:
            if inserted:
                last[row[: job.key]] = row
            elif last.get(row[: job.key]) == row:
                del last[row[: job.key]]
        return Counter(last.values())
    for inserted, row in rows:
        found[row] += 1 if inserted else -1
    return +found


def compare(ours, theirs, last_may_lack):
    """How the rows of another engine differ from those of Millstream, or None. If `last_may_lack` is set, windows that were open at the end
    may be missing."""
    extra, missing = theirs - ours, ours - theirs
    if not extra and (not missing or last_may_lack and len(theirs) * 2 >= len(ours)):
        return None
    example = next(iter(extra or missing))
    return f"no: {extra.total()} extra rows, {missing.total()} missing rows, for example {example}"
