"""Runs Structured Streaming queries in this process, one after another.

    run.py WORKERS

Each line of standard input is a job: JOB NAME=VALUE…, separated by tabs. The SQL statement is in the file `<JOB>.sql` in this directory. Its first
line is the output mode: append, update or complete. INPUT is the directory of the tables, SCRATCH is for checkpoints, OUT is where query 10
writes. RESULTS, if set, is the file to write the rows to.

Prints `@@ ready` when it has started, and `@@ done` or `@@ failed` after each job.
"""

import re
import sys
import tempfile
import traceback
from pathlib import Path

from pyspark.sql import SparkSession

HERE = Path(__file__).parent
SCHEMAS = {
    "person": "id BIGINT, name STRING, email_address STRING, credit_card STRING, city STRING, state STRING, date_time TIMESTAMP, extra STRING",
    "auction": "id BIGINT, item_name STRING, description STRING, initial_bid BIGINT, reserve BIGINT, date_time TIMESTAMP, "
    "expires TIMESTAMP, seller BIGINT, category BIGINT, extra STRING",
    "bid": "auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, date_time TIMESTAMP, extra STRING",
    "payments": "user STRING, amount BIGINT",
    "readings": "ts TIMESTAMP, k STRING, v BIGINT",
}
TIMES = {"person": "date_time", "auction": "date_time", "bid": "date_time", "readings": "ts"}


def session(workers):
    builder = SparkSession.builder.master(f"local[{workers}]").appName("rivals")
    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        # One per worker: each partition is a task with its own state store.
        "spark.sql.shuffle.partitions": workers,
    }
    for key, value in settings.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def table(spark, directory, name):
    if name == "words":
        rows = spark.readStream.text(f"{directory}/words")
    else:
        reader = spark.readStream.schema(SCHEMAS[name])
        if "TIMESTAMP" in SCHEMAS[name]:
            reader = reader.option("timestampFormat", "yyyy-MM-dd HH:mm:ss.SSS")
        rows = reader.json(f"{directory}/{name}")
    if name in TIMES:
        rows = rows.withWatermark(TIMES[name], "4 seconds")
    rows.createOrReplaceTempView(name)


def run(spark, job, variables):
    text = (HERE / f"{job}.sql").read_text()
    mode, statement = text.split("\n", 1)
    mode = mode.removeprefix("-- ")
    if job == "kafka":
        kafka(spark, statement, variables)
        return
    for name in ["words", *SCHEMAS]:
        if re.search(rf"\b(FROM|JOIN) {name}\b", statement):
            table(spark, variables["INPUT"], name)
    if "side_input" in statement:
        spark.read.schema("key BIGINT, value STRING").json(f"{variables['INPUT']}/side").createOrReplaceTempView("side_input")
    writer = spark.sql(statement).writeStream.outputMode(mode)
    if job == "nexmark/q10":
        finish(writer.format("csv").option("path", variables["OUT"]).partitionBy("dt", "hm"), variables)
    elif results := variables.get("RESULTS"):
        def write(batch, _):
            with open(results, "a") as out:
                for row in batch.collect():
                    out.write("+U\t" + "\t".join(map(str, row)) + "\n")

        finish(writer.foreachBatch(write), variables)
    else:
        finish(writer.format("noop"), variables)


def kafka(spark, statement, variables):
    reader = spark.readStream.format("kafka").option("kafka.bootstrap.servers", variables["BROKERS"])
    reader.option("subscribe", variables["TOPIC"]).option("startingOffsets", "earliest").load().createOrReplaceTempView("records")
    writer = spark.sql(statement).writeStream.format("kafka").option("kafka.bootstrap.servers", variables["BROKERS"])
    finish(writer.option("topic", variables["OUT_TOPIC"]), variables)


def finish(writer, variables):
    """Runs the query until it has read all available input."""
    with tempfile.TemporaryDirectory(dir=variables["SCRATCH"]) as checkpoint:
        writer.option("checkpointLocation", checkpoint).trigger(availableNow=True).start().awaitTermination()


def main(workers):
    spark = session(workers)
    spark.sparkContext.setLogLevel("ERROR")
    print("@@ ready", flush=True)
    for line in sys.stdin:
        job, *pairs = line.rstrip("\n").split("\t")
        try:
            run(spark, job, dict(pair.split("=", 1) for pair in pairs))
            print("@@ done", flush=True)
        except Exception:
            traceback.print_exc()
            print("@@ failed", flush=True)
        # Free the memory of this job before the next one starts.
        spark._jvm.System.gc()


if __name__ == "__main__":
    main(sys.argv[1])
