"""Runs queries of Structured Streaming in a Spark of this process, one after the other, as each comes in a line of standard input: JOB NAME=VALUE…,
with tabs between. The statement is in the file of that name beside this one, whose first line says how rows are put out: append, update or
complete. INPUT is the folder with tables, SCRATCH one for checkpoints, OUT the one that query 10 writes to, RESULTS a file for rows, where they are wanted.

It answers with a line `@@ ready` at its start, and `@@ done` or `@@ failed` after each job. run.py WORKERS."""

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
        # As many as there are cores: each is a task and a store of states.
        "spark.sql.shuffle.partitions": workers,
    }
    for key, value in settings.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def table(spark, folder, name):
    if name == "words":
        rows = spark.readStream.text(f"{folder}/words")
    else:
        times = "TIMESTAMP" in SCHEMAS[name]
        schema = SCHEMAS[name].replace("TIMESTAMP", "TIMESTAMP")
        reader = spark.readStream.schema(schema)
        if times:
            reader = reader.option("timestampFormat", "yyyy-MM-dd HH:mm:ss.SSS")
        rows = reader.json(f"{folder}/{name}")
    if name in TIMES:
        rows = rows.withWatermark(TIMES[name], "4 seconds")
    rows.createOrReplaceTempView(name)


def run(spark, job, told):
    text = (HERE / f"{job}.sql").read_text()
    mode, statement = text.split("\n", 1)
    mode = mode.removeprefix("-- ")
    if job == "kafka":
        kafka(spark, statement, told)
        return
    for name in ["words", *SCHEMAS]:
        if re.search(rf"\b(FROM|JOIN) {name}\b", statement):
            table(spark, told["INPUT"], name)
    if "side_input" in statement:
        spark.read.schema("key BIGINT, value STRING").json(f"{told['INPUT']}/side").createOrReplaceTempView("side_input")
    writer = spark.sql(statement).writeStream.outputMode(mode)
    if job == "nexmark/q10":
        finish(writer.format("csv").option("path", told["OUT"]).partitionBy("dt", "hm"), told)
    elif results := told.get("RESULTS"):
        def write(batch, _):
            with open(results, "a") as out:
                for row in batch.collect():
                    out.write("+U\t" + "\t".join(map(str, row)) + "\n")

        finish(writer.foreachBatch(write), told)
    else:
        finish(writer.format("noop"), told)


def kafka(spark, statement, told):
    reader = spark.readStream.format("kafka").option("kafka.bootstrap.servers", told["BROKERS"])
    reader.option("subscribe", told["TOPIC"]).option("startingOffsets", "earliest").load().createOrReplaceTempView("records")
    writer = spark.sql(statement).writeStream.format("kafka").option("kafka.bootstrap.servers", told["BROKERS"])
    finish(writer.option("topic", told["OUT_TOPIC"]), told)


def finish(writer, told):
    """Until all that is there has been read."""
    with tempfile.TemporaryDirectory(dir=told["SCRATCH"]) as checkpoint:
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
        # So that the next one does not begin with what this one has left.
        spark._jvm.System.gc()


if __name__ == "__main__":
    main(sys.argv[1])
