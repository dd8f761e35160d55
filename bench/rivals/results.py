"""What a job has put out, so that engines can be compared: each row as a tuple of texts that are the same whoever wrote it."""

import json
import re
from collections import Counter
from datetime import datetime
from pathlib import Path

TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?")
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?")


def plain(value):
    """A value as text. Digits behind the third are left out: some engines count in decimals, others in floating point."""
    text = str(value)
    if TIME.fullmatch(text):
        time = datetime.fromisoformat(text.removesuffix("Z").replace("T", " ")[:26])
        return time.isoformat(" ", "milliseconds")
    if NUMBER.fullmatch(text):
        return f"{float(text):.3f}"
    return text


def told(file):
    """Rows of a file with a line each: what the row does, and its values between tabs."""
    for line in Path(file).read_text().splitlines():
        change, *values = line.split("\t")
        yield change in ("+I", "+U"), tuple(map(plain, values))


def written(folder):
    """Rows of the files that Millstream has written, in order."""
    for file in sorted(Path(folder).rglob("*.jsonl")):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            change = row.pop("op", "insert")
            yield change != "delete", tuple(map(plain, row.values()))


def csv(folder):
    """Rows of files between commas, with or without a first line of names."""
    for file in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        # Files of the engines themselves.
        if any(part.startswith((".", "_")) for part in file.relative_to(folder).parts):
            continue
        for line in file.read_text().splitlines():
            values = line.replace('"', "").split(",")[:5]
            if values[0].isdigit():
                yield True, tuple(map(plain, values))


def together(job, rows):
    """What the changes come to: how often each row is there in the end."""
    found = Counter()
    if job.key:
        last = {}
        for comes, row in rows:
            if comes:
                last[row[: job.key]] = row
            elif last.get(row[: job.key]) == row:
                del last[row[: job.key]]
        return Counter(last.values())
    for comes, row in rows:
        found[row] += 1 if comes else -1
    return +found


def compare(ours, theirs, last_may_lack):
    """A word about how the rows of another engine differ from ours, or None. `last_may_lack`: windows that were open at the end may not have
    been put out."""
    more, lack = theirs - ours, ours - theirs
    if not more and (not lack or last_may_lack and len(theirs) * 2 >= len(ours)):
        return None
    example = next(iter(more or lack))
    return f"no: {more.total()} rows that Millstream does not put out, {lack.total()} that it does and this does not, as {example}"
