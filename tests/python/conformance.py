"""Calls plugins from Python with the cases of tests/conformance and compares the output with the cases' expected output.

    conformance.py <directory of cases> <component>…

Skips cases with windows or their own times, which calls do not have. Prints a line per component: the number of passed cases,
the digest of all sorted output, and the differences.
"""

import datetime
import hashlib
import json
import re
import sys
import tomllib
from decimal import Decimal
from pathlib import Path

import millstream
import pyarrow as pa

TYPES = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "text": pa.string(),
    "binary": pa.binary(),
    "timestamp(us)": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
    "decimal(12,2)": pa.decimal128(12, 2),
    "list<text>": pa.list_(pa.string()),
    "struct<id: int64, sku: text>": pa.struct({"id": pa.int64(), "sku": pa.string()}),
}
# Settings that a call does not have, or that change the values that it sees.
LEFT_OUT = {"window", "time", "timeout", "batch"}
SECOND = datetime.timedelta(seconds=1)
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def table(rows: list[dict], schema: dict[str, str]) -> pa.Table:
    def column(name: str, kind: str) -> pa.Array:
        values = [row.get(name) for row in rows]
        if kind == "float64":
            values = [value if value is None else float(value) for value in values]
        if kind in ("text", "binary"):
            values = [value if value is None else str(value).encode() for value in values]
        if kind == "date":
            values = [value if value is None else datetime.date.fromisoformat(value) for value in values]
        if kind.startswith("decimal"):
            values = [value if value is None else Decimal(value) for value in values]
        return pa.array(values, TYPES[kind])

    return pa.table({name: column(name, kind) for name, kind in schema.items()})


def value(of: object) -> object:
    """Formats a value like a sink."""
    if isinstance(of, bytes):
        return of.hex()
    if isinstance(of, float) and (of != of or of in (float("inf"), float("-inf"))):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(of)]
    if isinstance(of, datetime.date):
        return of.isoformat()
    # As `json` reads a number that a sink writes.
    return float(of) if isinstance(of, Decimal) else of


def time(us: int | None) -> str | None:
    """Formats a time of any year. Python's own times support fewer years."""
    if us is None:
        return None
    days, us = divmod(us, 86_400_000_000)
    # All periods of 400 years have the same number of days.
    eras, day = divmod(days, 146_097)
    date = datetime.date(1970, 1, 1) + datetime.timedelta(day)
    year = date.year + 400 * eras
    year = f"{year:04}" if 0 <= year <= 9999 else f"{year:+}"
    clock = datetime.datetime(2000, 1, 1) + datetime.timedelta(microseconds=us)
    return f"{year}-{date:%m-%d}T{clock:%H:%M:%S.%f}Z"


def rows_of(rows: millstream.Rows) -> list[dict]:
    made = pa.table(rows)
    times = {field.name for field in made.schema if pa.types.is_timestamp(field.type)}
    for name in times:
        made = made.set_column(made.schema.get_field_index(name), name, made[name].cast(pa.int64()))
    return [{name: time(of) if name in times else value(of) for name, of in row.items()} for row in made.to_pylist()]


def line(row: dict, names: set[str] | None = None) -> str:
    kept = {name: of for name, of in row.items() if names is None or name in names}
    return json.dumps(kept, sort_keys=True, ensure_ascii=False)


def batches(file: Path) -> list[list[dict]]:
    return [json.loads(text) for text in file.read_text(encoding="utf-8").splitlines()]


def put_out(component: str, folder: Path, case: dict) -> tuple[list[list[dict]], list[list[dict]]]:
    settings = {key: case[key] for key in ("config", "limits", "grant", "on_error", "instance") if key in case}
    plugin = millstream.Plugin(component, lock=folder, **settings)
    key, rows, rejected, kept = case.get("key", []), [], [], {}
    inputs = case.get("inputs") or [{"name": "input", "schema": case["schema"]}]
    read = [batches(folder / f"{given['name']}.jsonl") for given in inputs]
    for number, parts in enumerate(zip(*read, strict=True), start=1):
        tables = [table(part, given["schema"]) for part, given in zip(parts, inputs, strict=True)]
        call = {"batch": number, "time": EPOCH + number * SECOND}
        match plugin.world:
            case "transform":
                out = plugin.process(tables[0], **call)
            case "aggregate":
                out = plugin.aggregate(tables[0], key=key, **call)
            case "update":
                out = plugin.update(tables[0], key=key, on=case.get("on", "rows"), **kept, **call)
                kept = {"states": out.states, "timers": out.timers}
            case _:
                names = [given["name"] for given in inputs]
                out = plugin.cogroup(dict(zip(names, tables, strict=True)), key=key, **call)
        rows.append(rows_of(out.rows))
        rejected.append(rows_of(out.rejected))
    return rows, rejected


def differs(what: str, made: list[list[dict]], file: Path, digest: "hashlib._Hash") -> str | None:
    """Compares rows with the expected ones. Cases only contain the columns that they test."""
    wanted = {batch["batch"]: batch["rows"] for batch in batches(file)}
    for number, rows in enumerate(made, start=1):
        theirs = wanted.get(number, [])
        names = {name for row in theirs for name in row} or None
        own, others = sorted(line(row, names) for row in rows), sorted(map(line, theirs))
        if own != others:
            return f"{what} of batch {number}\n  made:   {own[:3]}\n  wanted: {others[:3]}"
        digest.update(json.dumps(own).encode())
    return None


def difference(component: str, folder: Path, case: dict, digest: "hashlib._Hash") -> str | None:
    error = folder / "expected-error.txt"
    if error.is_file():
        try:
            put_out(component, folder, case)
        except millstream.MillstreamError as failure:
            wanted = error.read_text(encoding="utf-8").strip()
            wanted = re.sub(r"`(input|orders|payments)`", "the table", wanted).replace("the stage's", "the call's")
            return None if wanted in str(failure) else f"failed otherwise: {failure}\n  wanted: {wanted}"
        return "did not fail"
    rows, rejected = put_out(component, folder, case)
    files = (("rows", rows, "expected.jsonl"), ("rejected", rejected, "expected-rejected.jsonl"))
    differences = (differs(what, made, folder / file, digest) for what, made, file in files if (folder / file).is_file())
    return next((difference for difference in differences if difference is not None), None)


def main() -> None:
    cases = sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir())
    wrong = False
    for component in sys.argv[2:]:
        count, left_out, digest = 0, 0, hashlib.sha256()
        for folder in cases:
            case = tomllib.loads((folder / "case.toml").read_text(encoding="utf-8"))
            if LEFT_OUT & set(case):
                left_out += 1
                continue
            count += 1
            try:
                words = difference(component, folder, case, digest)
            except Exception as error:  # noqa: BLE001: any error is reported
                words = f"{type(error).__name__}: {error}"
            if words is not None:
                wrong = True
                print(f"{component}: {folder.name}: {words}")
        print(f"{component}: {count} cases, {left_out} left out, {digest.hexdigest()}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
