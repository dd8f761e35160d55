"""The jobs as Bytewax dataflows.

    python3 flows.py JOB

Environment: INPUT is the directory of the tables. RESULTS, if set, is the file to write the rows to.
"""

import os
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import bytewax.operators as op
import bytewax.operators.windowing as win
import orjson
from bytewax.connectors.files import FileSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

BATCH = 10_000
EPOCH = datetime(2015, 7, 15, tzinfo=timezone.utc)


class Partition(StatelessSinkPartition):
    """Writes rows as lines of values to a file, or drops them if there is no path."""

    def __init__(self, path):
        self.file = open(path, "a") if path else None

    def write_batch(self, items):
        if self.file:
            self.file.writelines("+U\t" + "\t".join(map(str, item)) + "\n" for item in items)

    def close(self):
        if self.file:
            self.file.close()


class Sink(DynamicSink):
    def build(self, step_id, worker_index, worker_count):
        return Partition(os.environ.get("RESULTS"))


def lines(flow, name):
    return op.input("lines", flow, FileSource(Path(os.environ["INPUT"]) / name, batch_size=BATCH))


def word_count():
    flow = Dataflow("word_count")
    words = op.flat_map("split", lines(flow, "words/all.txt"), str.split)
    op.output("out", op.count_final("count", words, lambda word: word), Sink())
    return flow


def json_totals():
    flow = Dataflow("json_totals")
    rows = op.map("decode", lines(flow, "payments/all.jsonl"), orjson.loads)
    pairs = op.map("pair", rows, lambda row: (row["user"], row["amount"]))
    op.output("out", op.reduce_final("add", pairs, lambda total, amount: total + amount), Sink())
    return flow


def sliding():
    flow = Dataflow("sliding")
    rows = op.map("decode", lines(flow, "readings/all.jsonl"), orjson.loads)
    keyed = op.key_on("key", rows, lambda row: row["k"])
    clock = win.EventClock(lambda row: datetime.fromisoformat(row["ts"]).replace(tzinfo=timezone.utc), timedelta(0))
    every = win.SlidingWindower(length=timedelta(seconds=60), offset=timedelta(seconds=10), align_to=EPOCH)
    totals = win.fold_window(
        "add", keyed, clock, every, lambda: (0, 0), lambda sums, row: (sums[0] + 1, sums[1] + row["v"]),
        lambda one, other: (one[0] + other[0], one[1] + other[1]),
    )

    def row(item):
        key, (window, (count, total)) = item
        end = EPOCH + timedelta(seconds=10 * window + 60)
        return (key, count, total, end.strftime("%Y-%m-%d %H:%M:%S"))

    op.output("out", op.map("row", totals.down, row), Sink())
    return flow


def kafka():
    from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSource, KafkaSink

    brokers = [os.environ["BROKERS"]]
    flow = Dataflow("kafka")
    messages = op.input("in", flow, KafkaSource(brokers, [os.environ["TOPIC"]], tail=False, batch_size=BATCH))
    rows = op.map("decode", messages, lambda message: orjson.loads(message.value))
    kept = op.filter("filter", rows, lambda row: row["amount"] >= 50)
    out = op.map("encode", kept, lambda row: KafkaSinkMessage(None, orjson.dumps({"user": row["user"], "amount": row["amount"]})))
    op.output("out", out, KafkaSink(brokers, os.environ["OUT_TOPIC"]))
    return flow


def nexmark(name):
    """Queries 0 to 2. Bytewax has no SQL, and the other queries are not implemented for it."""
    flow = Dataflow("nexmark")
    rows = op.map("decode", lines(flow, "bid/all.jsonl"), orjson.loads)
    if name == "q0":
        out = op.map("row", rows, lambda b: (b["auction"], b["bidder"], b["price"], b["date_time"], b["extra"]))
    elif name == "q1":
        out = op.map("row", rows, lambda b: (b["auction"], b["bidder"], 0.908 * b["price"], b["date_time"], b["extra"]))
    else:
        kept = op.filter("filter", rows, lambda b: b["auction"] % 123 == 0)
        out = op.map("row", kept, lambda b: (b["auction"], b["price"]))
    op.output("out", out, Sink())
    return flow


if __name__ == "__main__":
    job = sys.argv[1]
    run_main(nexmark(job.split("/")[1]) if job.startswith("nexmark/") else globals()[job]())
