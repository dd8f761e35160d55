"""Plugins in the Python workers of a real Spark: two executors with a limited address space. `make spark` runs it. `make test` does not,
because Spark is large and starts slowly.
"""

import hashlib
import json
import os
import signal
import sys
import tempfile
import time
import tomllib
import unittest
from pathlib import Path

os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
os.environ.setdefault("SPARK_WORKER_DIR", tempfile.mkdtemp(prefix="millstream-spark-"))

import conformance
import millstream
import millstream.spark
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession, functions

ROOT = Path(__file__).resolve().parents[2]
POISON = ROOT / "tests" / "plugins" / "poison"

# Settings of a stage that Spark functions do not have, and grants of files, which executors do not have.
NOT_IN_SPARK = {"on", "grant"}
# Timers by Spark's clock, which another test covers, and rows with the current time.
LEFT_OUT_CASES = {"totals/alarms", "totals/refused", "failing/clock"}
# Column with the original order of the rows.
ORDER = "place"
# Columns about the call itself, or with the time of a key's first row, and the additional columns of rows that made a plugin fail.
OF_THE_CALL = {"batch", "time", "watermark", "since"}
OF_A_FAILURE = {"backtrace", "stage", "plugin", "version", "digest", "reason"}


def digest(values) -> str:
    return hashlib.sha256("\n".join(sorted(values)).encode()).hexdigest()


def last_of(made: dict) -> dict:
    """Returns the last count of each word."""
    return {word: most for batch in sorted(made) for word, most in made[batch]}


class OnSpark(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        settings = {
            "spark.executor.pyspark.memory": "1g",
            "spark.ui.enabled": "false",
            "spark.sql.shuffle.partitions": "2",
            "spark.sql.session.timeZone": "UTC",
            # On a busy machine, a Python worker starts slowly.
            "spark.python.authenticate.socketTimeout": "120s",
            "spark.sql.streaming.stateStore.providerClass": "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
        }
        builder = SparkSession.builder.master("local-cluster[2,1,1024]").config(map=settings)
        cls.spark = builder.getOrCreate()
        cls.spark.sparkContext.setLogLevel("OFF")

    @classmethod
    def tearDownClass(cls):
        cls.spark.stop()

    def lines(self, *values):
        return self.spark.createDataFrame([(value,) for value in values], "value string")

    def test_rows_equal_those_without_spark(self):
        split = millstream.Plugin(ROOT / "plugins" / "split-words", config={"lowercase": True})
        lines = ["To be or not to be", None, "that is the question"] * 1000
        table = self.lines(*lines).repartition(4)
        here = pa.table(split.process(pa.table({"value": lines})).rows)["word"].to_pylist()
        there = [row.word for row in millstream.spark.process(table, split).collect()]
        self.assertEqual(digest(there), digest(here))
        self.assertEqual(millstream.spark.rejected(table, split).count(), 1000)

    def test_plugins_in_all_languages_return_the_same_with_and_without_spark(self):
        known, compared = {}, {}
        for named in os.environ["CONFORMANCE"].split():
            language, name, component = named.split("=", 2)
            for folder in sorted(Path(ROOT, "tests", "conformance", name, "cases").iterdir()):
                case = tomllib.loads((folder / "case.toml").read_text(encoding="utf-8"))
                is_left_out = (conformance.LEFT_OUT | NOT_IN_SPARK) & set(case) or f"{name}/{folder.name}" in LEFT_OUT_CASES
                if is_left_out or (folder / "expected-error.txt").is_file():
                    continue
                with self.subTest(language=language, case=folder.name):
                    here, there = self.put_out(component, folder, case)
                    self.assertEqual(there, here)
                    # All languages must return the same as the first one.
                    self.assertEqual(here, known.setdefault(folder, here))
                    compared[language] = compared.get(language, 0) + 1
        self.assertEqual(len(set(compared.values())), 1, compared)
        self.assertEqual(sorted(compared), ["c", "go", "js", "python", "rust"])
        print(compared, digest(map(str, known.values())))

    def put_out(self, component, folder, case):
        """Returns the digests of a case's output, called here and by Spark."""
        settings = {key: case[key] for key in ("config", "limits", "grant", "on_error", "instance") if key in case}
        plugin = millstream.Plugin(component, lock=folder, **settings)
        if plugin.world == "update":
            return self.updated(plugin, folder, case)
        inputs = case.get("inputs") or [{"name": "input", "schema": case["schema"]}]
        tables, key = {}, case.get("key", [])
        for given in inputs:
            rows = [row for batch in conformance.batches(folder / f"{given['name']}.jsonl") for row in batch]
            table = conformance.table(rows, given["schema"])
            # Spark reorders rows, and some plugins depend on their order.
            tables[given["name"]] = table.append_column(ORDER, pa.array(range(len(rows)), pa.int64()))
        frames = {name: self.spark.createDataFrame(table).repartition(2) for name, table in tables.items()}
        (first, frame), *_ = ((tables[name], frames[name]) for name in tables)
        match plugin.world:
            case "transform":
                here = plugin.process(first)
                pairs = [(here.rows, millstream.spark.process(frame, plugin)), (here.rejected, millstream.spark.rejected(frame, plugin))]
            case "aggregate":
                there = millstream.spark.aggregate(frame, plugin, key, sort_within=ORDER)
                pairs = [(plugin.aggregate(first, key=key).rows, there)]
            case _:
                pairs = [(plugin.cogroup(tables, key=key).rows, millstream.spark.cogroup(frames, plugin, key))]

        digests = [[digest(self.lines_of(rows)) for rows in (one, other.toArrow())] for one, other in pairs]
        return [here for here, _ in digests], [there for _, there in digests]

    def updated(self, plugin, folder, case):
        """Returns the output of a case's batches that have rows, called here and by Spark. For Spark, each batch is a file of a stream."""
        key, tables = case["key"], [conformance.table(rows, case["schema"]) for rows in conformance.batches(folder / "input.jsonl")]
        here, states = [], None
        for table in tables:
            made = plugin.update(table, key=key, states=states)
            states = made.states
            here.append(self.lines_of(made.rows))
        with tempfile.TemporaryDirectory() as place:
            files = os.path.join(place, "batches")
            os.mkdir(files)
            for number, table in enumerate(tables, start=1):
                pq.write_table(table, f"{files}/{number}.parquet")
                os.utime(f"{files}/{number}.parquet", (number, number))
            schema = self.spark.createDataFrame(tables[0]).schema
            read = self.spark.readStream.schema(schema).option("maxFilesPerTrigger", 1).parquet(files)
            made = {}

            def keep(frame, batch):
                made[batch] = self.lines_of(frame.toArrow())

            query = millstream.spark.update(read, plugin, key).writeStream.foreachBatch(keep)
            query = query.option("checkpointLocation", os.path.join(place, "checkpoint")).start()
            # With processing time, Spark runs batches indefinitely, so the test ends when all rows were read.
            rows, deadline = sum(table.num_rows for table in tables), time.monotonic() + 600
            while sum(progress["numInputRows"] for progress in query.recentProgress) < rows:
                self.assertTrue(query.isActive and time.monotonic() < deadline, (query.exception(), query.recentProgress))
                time.sleep(0.1)
            query.stop()
        there = [made[batch] for batch in sorted(made)]
        return [[lines for lines in all_of if lines] for all_of in (here, there)]

    @staticmethod
    def lines_of(rows):
        """Formats rows as sorted lines. The plugin's clock differs between runs, and Spark does not keep the order of a key's rows."""
        for row in (made := conformance.rows_of(rows)):
            left_out = OF_THE_CALL | {ORDER} | (OF_A_FAILURE if "backtrace" in row else set())
            for name in left_out & set(row):
                row.pop(name)
            if row.get("items"):
                row["items"] = sorted(row["items"].split("+"))
        return sorted(map(conformance.line, made))

    def test_aggregates_equal_those_of_spark(self):
        total = millstream.Plugin(ROOT / "plugins" / "sum", config={"column": "n"})
        table = self.spark.range(10_000).selectExpr("cast(id % 7 as string) as shop", "cast(id as int) as n")
        own = table.groupBy("shop").agg(functions.sum("n"))
        made = millstream.spark.aggregate(table, total, "shop")
        self.assertEqual(sorted(map(tuple, made.collect())), sorted(map(tuple, own.collect())))

    def test_a_failing_plugin_fails_its_task_by_name_and_spares_the_executors(self):
        poison = millstream.Plugin(POISON, limits={"time": "1s"})
        for word, message in (("panic", "panicked at"), ("loop", "time limit of 1s")):
            with self.subTest(word), self.assertRaises(Exception) as failure:
                millstream.spark.process(self.lines("a", word, "b"), poison).collect()
            self.assertRegex(str(failure.exception), f"PluginError: stage `poison`: plugin poison 0.1.0 .*{message}")
        rejecting = millstream.Plugin(POISON, on_error="reject")
        self.assertEqual(millstream.spark.process(self.lines("a", "panic", "b"), rejecting).count(), 2)


    def test_no_row_is_lost_or_duplicated_when_a_worker_or_an_executor_is_killed(self):
        split = millstream.Plugin(ROOT / "plugins" / "split-words")
        lines = [f"line {number}" for number in range(4000)]
        with tempfile.TemporaryDirectory() as folder:
            for victim in ("worker", "executor"):
                once = os.path.join(folder, victim)

                def kill(batches, victim=victim, once=once):
                    for batch in batches:
                        yield batch
                        if not os.path.exists(once):
                            os.close(os.open(once, os.O_CREAT))
                            # The executor is the parent of the daemon that started this worker.
                            daemon = os.getppid()
                            executor = int(Path(f"/proc/{daemon}/stat").read_text().rsplit(")", 1)[1].split()[1])
                            os.kill(os.getpid() if victim == "worker" else executor, signal.SIGKILL)

                with self.subTest(victim):
                    table = self.lines(*lines).repartition(4)
                    made = millstream.spark.process(table, split).mapInArrow(kill, "word string")
                    words = [row.word for row in made.collect()]
                    self.assertTrue(os.path.exists(once))
                    self.assertEqual(digest(words), digest(word for line in lines for word in line.split()))

    def test_states_of_streams_are_kept_by_spark_through_a_kill(self):
        count = millstream.Plugin(ROOT / "plugins" / "running-count")
        files = 4
        with tempfile.TemporaryDirectory() as folder:
            lines = os.path.join(folder, "lines")
            os.mkdir(lines)
            for number in range(files):
                words = "\n".join(f"word-{place % 7}" for place in range(number, number + 50))
                Path(lines, f"{number}.txt").write_text(words + "\n", encoding="utf-8")
            once = os.path.join(folder, "once")

            def kill(batches):
                for number, batch in enumerate(batches):
                    yield batch
                    if number == 0 and batch.num_rows and os.path.exists(once + ".armed") and not os.path.exists(once):
                        os.close(os.open(once, os.O_CREAT))
                        os.kill(os.getpid(), signal.SIGKILL)

            read = self.spark.readStream.schema("word string").option("maxFilesPerTrigger", 1).text(lines)
            counted = millstream.spark.update(read, count, "word").mapInArrow(kill, "word string, count bigint")
            made = {}

            def keep(frame, batch):
                made[batch] = [(row["word"], row["count"]) for row in frame.collect()]
                Path(once + ".armed").touch()

            # Runs twice with the same checkpoint: the second half continues with the states of the first.
            # With processing-time timers, Spark runs batches indefinitely, so the test ends when it has seen enough.
            def run(rows):
                query = counted.writeStream.foreachBatch(keep).option("checkpointLocation", os.path.join(folder, "checkpoint"))
                query = query.start()
                deadline = time.monotonic() + 600
                while sum(last_of(made).values()) < rows and query.isActive and time.monotonic() < deadline:
                    time.sleep(0.1)
                query.stop()
                self.assertIsNone(query.exception())

            late = [Path(lines, f"{number}.txt") for number in range(files // 2, files)]
            for file in late:
                file.rename(f"{folder}/{file.name}")
            run(files // 2 * 50)
            for file in late:
                Path(folder, file.name).rename(file)
            run(files * 50)
            self.assertTrue(os.path.exists(once))
            wanted = {}
            for number in range(files):
                for place in range(number, number + 50):
                    wanted[f"word-{place % 7}"] = wanted.get(f"word-{place % 7}", 0) + 1
            # An idempotent sink: a repeated batch replaces its previous rows.
            self.assertEqual(last_of(made), wanted)

    def test_timers_of_streams_use_the_timers_of_spark(self):
        totals = millstream.Plugin(ROOT / "tests" / "conformance" / "totals" / "rust")
        with tempfile.TemporaryDirectory() as folder:
            lines = os.path.join(folder, "lines")
            os.mkdir(lines)
            rows = [("a", 1, "alarm", 10), ("b", 2, None, 10), ("b", 3, None, 11), ("b", 1, None, 30), ("b", 1, None, 60)]
            for number, (k, amount, note, second) in enumerate(rows):
                at = f"2026-01-01T00:{second // 60:02}:{second % 60:02}Z"
                row = {"k": k, "amount": amount, "note": note, "at": at}
                Path(lines, f"{number}.json").write_text(json.dumps(row) + "\n", encoding="utf-8")
                os.utime(Path(lines, f"{number}.json"), (number + 1, number + 1))
            read = self.spark.readStream.schema("k string, amount bigint, note string, at timestamp")
            read = read.option("maxFilesPerTrigger", 1).json(lines).withWatermark("at", "0 seconds")
            made = []

            def keep(frame, batch):
                made.extend((row["k"], row["why"], row["total"]) for row in frame.collect())

            updated = millstream.spark.update(read, totals, "k", time="event").select("k", "why", "total")
            query = updated.writeStream.foreachBatch(keep).option("checkpointLocation", os.path.join(folder, "checkpoint"))
            query.trigger(availableNow=True).start().awaitTermination()
            self.assertEqual(made.count(("a", "alarm", 1)), 1, made)
            self.assertEqual([row for row in made if row[0] == "b"], [("b", "row", total) for total in (2, 5, 6, 7)])


if __name__ == "__main__":
    unittest.main()
