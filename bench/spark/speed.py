"""Compares plugins with Spark functions on a local Spark cluster with two executors: words of lines, fields of JSON, sums by key.
`make bench-spark` runs it.

    speed.py [ROWS]

Prints the measurements for the table in docs/how-to/use-plugins-in-spark-flink-clickhouse.md. All variants of a task must return the same
result. Each variant runs once to warm up and then three times, in turn with the others; the table has the median.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
os.environ.setdefault("SPARK_WORKER_DIR", tempfile.mkdtemp(prefix="millstream-spark-"))

import millstream
import millstream.spark
import pandas as pd
from pyspark.sql import SparkSession, functions as f

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 3_000_000
RUNS = 3


def session() -> SparkSession:
    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.python.authenticate.socketTimeout": "120s",
    }
    spark = SparkSession.builder.master("local-cluster[2,1,2048]").config(map=settings).getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    return spark


def compare(title: str, summarize, variants: dict) -> None:
    """Checks that all variants return the same result, then prints the seconds of each. ``summarize`` reduces a result to one row."""
    results = {name: summarize(variant()).collect() for name, variant in variants.items()}
    first = next(iter(results.values()))
    for name, result in results.items():
        assert result == first, f"{title}: {name} returns {result}, expected {first}"
    times = {name: [] for name in variants}
    for _ in range(RUNS):
        for name, variant in variants.items():
            start = time.perf_counter()
            summarize(variant()).collect()
            times[name].append(time.perf_counter() - start)
    print(f"\n| {title} | s |\n|---|---|")
    for name, took in times.items():
        print(f"| {name} | {sorted(took)[RUNS // 2]:.1f} |", flush=True)


def main() -> None:
    spark = session()
    numbers = spark.range(0, ROWS, 1, 4)
    lines = numbers.select(f.concat_ws(" ", f.lit("To be or"), f.col("id")).alias("value")).cache()
    texts = f.concat(f.lit('{"user": "user-'), f.col("id") % 1000, f.lit('", "amount": '), f.col("id") % 977, f.lit("}"))
    written = numbers.select(texts.alias("value")).cache()
    payments = numbers.select(f.concat(f.lit("user-"), f.col("id") % 1000).alias("user"), (f.col("id") % 977).alias("amount")).cache()
    for table in (lines, written, payments):
        table.count()

    @f.udf("array<string>")
    def words(value):
        return value.lower().split()

    @f.pandas_udf("array<string>")
    def words_of_all(values: pd.Series) -> pd.Series:
        return values.str.lower().str.split()

    split = millstream.Plugin(ROOT / "plugins" / "split-words", config={"lowercase": True})
    split_in_python = millstream.Plugin(ROOT / "host" / "benches" / "languages" / "split" / "python")
    largest = lambda df: df.select(f.max("word"), f.count("word"))
    compare(f"{ROWS:,} lines without the split: `mapInArrow` that changes nothing", lambda df: df.select(f.count("value")), {
        "`mapInArrow`": lambda: lines.mapInArrow(lambda batches: batches, "value string"),
    })
    compare(f"{ROWS:,} lines into words", largest, {
        "`millstream.spark.process`, a plugin in Rust": lambda: millstream.spark.process(lines, split),
        "`millstream.spark.process`, a plugin in Python": lambda: millstream.spark.process(lines.select(f.lower("value").alias("value")), split_in_python),
        "Spark's own `explode(split(lower(…)))`": lambda: lines.select(f.explode(f.split(f.lower("value"), " ")).alias("word")),
        "a pandas UDF": lambda: lines.select(f.explode(words_of_all("value")).alias("word")),
        "a plain Python UDF": lambda: lines.select(f.explode(words("value")).alias("word")),
    })

    parse, parse_in_python = (millstream.Plugin(HERE / name) for name in ("json-rust", "json-python"))
    schema = "user string, amount long"

    @f.udf(schema)
    def payment(value):
        read = json.loads(value)
        return read["user"], read["amount"]

    @f.pandas_udf(schema)
    def payment_of_all(values: pd.Series) -> pd.DataFrame:
        return pd.DataFrame([json.loads(value) for value in values], columns=["user", "amount"])

    def own(column):
        return written.select(column.alias("read")).select("read.user", "read.amount")

    compare(f"{ROWS:,} lines of JSON into two columns", lambda df: df.select(f.max("user"), f.sum("amount")), {
        "`millstream.spark.process`, a plugin in Rust": lambda: millstream.spark.process(written, parse),
        "`millstream.spark.process`, a plugin in Python": lambda: millstream.spark.process(written, parse_in_python),
        "Spark's own `from_json`": lambda: own(f.from_json("value", schema)),
        "a pandas UDF": lambda: own(payment_of_all("value")),
        "a plain Python UDF": lambda: own(payment("value")),
    })

    add = millstream.Plugin(ROOT / "plugins" / "sum", config={"column": "amount"})
    add_in_python = millstream.Plugin(HERE / "sum-python")

    def total_of(key, rows: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame([(key[0], rows["amount"].sum())], columns=["user", "sum"])

    @f.pandas_udf("long")
    def total(amounts: pd.Series) -> int:
        return int(amounts.sum())

    @f.udf("long")
    def added(amounts):
        return sum(amounts)

    by_user = payments.groupBy("user")
    compare(f"the sum of {ROWS:,} rows for each of 1,000 keys", lambda df: df.select(f.count("user"), f.max("sum"), f.sum("sum")), {
        "`millstream.spark.aggregate`, a plugin in Rust": lambda: millstream.spark.aggregate(payments, add, "user"),
        "`millstream.spark.aggregate`, a plugin in Python": lambda: millstream.spark.aggregate(payments, add_in_python, "user"),
        "Spark's own `sum`": lambda: by_user.agg(f.sum("amount").alias("sum")),
        "a pandas UDF of groups": lambda: by_user.agg(total("amount").alias("sum")),
        "`applyInPandas`": lambda: by_user.applyInPandas(total_of, "user string, sum long"),
        "a plain Python UDF of `collect_list`": lambda: by_user.agg(added(f.collect_list("amount")).alias("sum")),
    })
    spark.stop()


if __name__ == "__main__":
    main()
