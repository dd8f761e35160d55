"""Plugins in the Python workers of a real Spark: two executors with a limit on their address space. `make spark` runs it; `make test` does
not, as Spark is large and slow to start.
"""

import hashlib
import os
import signal
import sys
import tempfile
import unittest
from pathlib import Path

os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
os.environ.setdefault("SPARK_WORKER_DIR", tempfile.mkdtemp(prefix="millstream-spark-"))

import millstream
import millstream.spark
import pyarrow as pa
from pyspark.sql import SparkSession, functions

ROOT = Path(__file__).resolve().parents[2]
POISON = ROOT / "tests" / "plugins" / "poison"


def digest(values) -> str:
    return hashlib.sha256("\n".join(sorted(values)).encode()).hexdigest()


class OnSpark(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        settings = {"spark.executor.pyspark.memory": "1g", "spark.ui.enabled": "false"}
        builder = SparkSession.builder.master("local-cluster[2,1,1024]").config(map=settings)
        cls.spark = builder.getOrCreate()
        cls.spark.sparkContext.setLogLevel("OFF")

    @classmethod
    def tearDownClass(cls):
        cls.spark.stop()

    def lines(self, *values):
        return self.spark.createDataFrame([(value,) for value in values], "value string")

    def test_rows_are_those_that_come_without_spark(self):
        split = millstream.Plugin(ROOT / "plugins" / "split-words", config={"lowercase": True})
        lines = ["To be or not to be", None, "that is the question"] * 1000
        table = self.lines(*lines).repartition(4)
        here = pa.table(split.process(pa.table({"value": lines})).rows)["word"].to_pylist()
        there = [row.word for row in millstream.spark.process(table, split).collect()]
        self.assertEqual(digest(there), digest(here))
        self.assertEqual(millstream.spark.rejected(table, split).count(), 1000)

    def test_aggregates_are_those_of_spark(self):
        total = millstream.Plugin(ROOT / "plugins" / "sum", config={"column": "n"})
        table = self.spark.range(10_000).selectExpr("cast(id % 7 as string) as shop", "cast(id as int) as n")
        own = table.groupBy("shop").agg(functions.sum("n"))
        made = millstream.spark.aggregate(table, total, "shop")
        self.assertEqual(sorted(map(tuple, made.collect())), sorted(map(tuple, own.collect())))

    def test_a_failing_plugin_fails_its_task_by_name_and_spares_the_executors(self):
        poison = millstream.Plugin(POISON, limits={"time": "1s"})
        for word, told in (("panic", "panicked at"), ("loop", "time limit of 1s")):
            with self.subTest(word), self.assertRaises(Exception) as failure:
                millstream.spark.process(self.lines("a", word, "b"), poison).collect()
            self.assertRegex(str(failure.exception), f"PluginError: stage `poison`: plugin poison 0.1.0 .*{told}")
        rejecting = millstream.Plugin(POISON, on_error="reject")
        self.assertEqual(millstream.spark.process(self.lines("a", "panic", "b"), rejecting).count(), 2)


    def test_nothing_is_lost_and_nothing_comes_twice_when_a_worker_or_an_executor_is_killed(self):
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
                            # The executor is the parent of the daemon whose child this is.
                            daemon = os.getppid()
                            executor = int(Path(f"/proc/{daemon}/stat").read_text().rsplit(")", 1)[1].split()[1])
                            os.kill(os.getpid() if victim == "worker" else executor, signal.SIGKILL)

                with self.subTest(victim):
                    table = self.lines(*lines).repartition(4)
                    made = millstream.spark.process(table, split).mapInArrow(kill, "word string")
                    words = [row.word for row in made.collect()]
                    self.assertTrue(os.path.exists(once))
                    self.assertEqual(digest(words), digest(word for line in lines for word in line.split()))


if __name__ == "__main__":
    unittest.main()
