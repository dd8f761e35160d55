"""Runs a query of Structured Streaming over all that there is: run.py JOB, with the statement in the file of that name beside this one.

The first line of the file says how rows are put out: append, update or complete. INPUT is a folder of the environment; RESULTS a file for
rows, where they are wanted."""

import os
import sys
import tempfile
from pathlib import Path

from pyspark.sql import SparkSession

HERE = Path(__file__).parent
INPUT = os.environ["INPUT"]
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
        "spark.sql.session.timeZone": "UTC",
        # As many as there are cores: each is a task and a store of states.
        "spark.sql.shuffle.partitions": workers,
    }
    for key, value in settings.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def table(spark, name):
    if name == "words":
        rows = spark.readStream.text(f"{INPUT}/words")
    else:
        times = "TIMESTAMP" in SCHEMAS[name]
        schema = SCHEMAS[name].replace("TIMESTAMP", "TIMESTAMP")
        reader = spark.readStream.schema(schema)
        if times:
            reader = reader.option("timestampFormat", "yyyy-MM-dd HH:mm:ss.SSS")
        rows = reader.json(f"{INPUT}/{name}")
    if name in TIMES:
        rows = rows.withWatermark(TIMES[name], "4 seconds")
    rows.createOrReplaceTempView(name)


def main(job):
    spark = session(os.environ["WORKERS"])
    spark.sparkContext.setLogLevel("ERROR")
    text = (HERE / f"{job}.sql").read_text()
    mode = text.splitlines()[0].removeprefix("-- ").split()[0]
    if job == "kafka":
        kafka(spark, text)
        return
    for name in ["words", *SCHEMAS]:
        if name in text.split("\n", 1)[1]:
            table(spark, name)
    if "side_input" in text:
        spark.read.schema("key BIGINT, value STRING").json(f"{INPUT}/side").createOrReplaceTempView("side_input")
    finish(spark.sql(text), mode)


def finish(rows, mode):
    writer = rows.writeStream.outputMode(mode).trigger(availableNow=True)
    if results := os.environ.get("RESULTS"):
        def write(batch, _):
            with open(results, "a") as out:
                for row in batch.collect():
                    out.write("+U\t" + "\t".join(map(str, row)) + "\n")

        writer = writer.foreachBatch(write)
    else:
        writer = writer.format("noop")
    with tempfile.TemporaryDirectory(dir=os.environ["OUT"]) as checkpoint:
        writer.option("checkpointLocation", checkpoint).start().awaitTermination()


def kafka(spark, text):
    reader = spark.readStream.format("kafka").option("kafka.bootstrap.servers", os.environ["BROKERS"])
    rows = reader.option("subscribe", os.environ["TOPIC"]).option("startingOffsets", "earliest").load()
    rows.createOrReplaceTempView("records")
    writer = spark.sql(text).writeStream.format("kafka").option("kafka.bootstrap.servers", os.environ["BROKERS"])
    with tempfile.TemporaryDirectory(dir=os.environ["OUT"]) as checkpoint:
        writer = writer.option("topic", os.environ["OUT_TOPIC"]).option("checkpointLocation", checkpoint)
        writer.trigger(availableNow=True).start().awaitTermination()


if __name__ == "__main__":
    main(sys.argv[1])
