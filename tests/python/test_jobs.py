"""Jobs run from Python."""

import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from collections import Counter
from pathlib import Path

import millstream

ROOT = Path(__file__).resolve().parents[2]
JOB = f"""
name = "words"
batch = "20ms"
[checkpoint]
dir = "state"
[sources.lines]
kind = "file"
path = "book.txt"
format = "text"
[stages.words]
from = "lines"
plugin = "{ROOT}/plugins/split-words"
[stages.counts]
from = "words"
key = "word"
plugin = "{ROOT}/plugins/running-count"
[sinks.out]
from = "counts"
kind = "nothing"
"""


class Jobs(unittest.TestCase):
    def setUp(self):
        trial = tempfile.TemporaryDirectory()
        self.addCleanup(trial.cleanup)
        self.folder = Path(trial.name)
        self.job = self.folder / "job.toml"
        self.job.write_text(JOB)
        (self.folder / "book.txt").write_text("to be or not to be\n" * 2000)

    def running(self, **settings) -> millstream.Job:
        """Returns a job that never ends on its own."""
        text = JOB.replace('kind = "file"\npath = "book.txt"\nformat = "text"', 'kind = "rate"\nrows_per_second = 500')
        text = text.replace(f'plugin = "{ROOT}/plugins/split-words"', 'select = "cast(value as text) as word"')
        self.job.write_text(text)
        return millstream.Job(self.job, workers=1, **settings)

    def test_a_job_is_validated_and_run_and_its_state_is_queried(self):
        job = millstream.Job(self.job, workers=1)
        self.assertIn("word text, count int64", job.validate())
        job.run()
        rows = job.state("select word, count from counts order by word")
        self.assertEqual(rows, [{"word": w, "count": n} for w, n in (("be", 4000), ("not", 2000), ("or", 2000), ("to", 4000))])
        self.assertFalse(job.is_running())

    def test_rows_of_a_stage_are_arrow_batches(self):
        counted = Counter()
        for batch in millstream.Job(self.job, workers=1).rows("words"):
            counted.update(batch["word"].to_pylist())
        self.assertEqual(counted, {"to": 4000, "be": 4000, "or": 2000, "not": 2000})

    def test_closing_the_iterator_stops_the_job(self):
        job = self.running()
        rows = job.rows("lines")
        self.assertGreater(next(rows).num_rows, 0)
        self.assertTrue(job.is_running())
        self.assertEqual(job.status()["job"], "words")
        rows.close()
        self.assertFalse(job.is_running())

    def test_a_running_job_is_stopped(self):
        with self.running() as job:
            job.start()
            with self.assertRaisesRegex(millstream.UsageError, "is already running"):
                job.start()
            deadline = time.monotonic() + 30
            committed = 0
            while committed == 0:
                try:
                    committed = job.status()["batches_committed"]
                except millstream.MillstreamError as error:
                    self.assertLess(time.monotonic(), deadline, error)
                    time.sleep(0.05)
            job.stop()
            self.assertFalse(job.is_running())

    def test_errors_are_exceptions(self):
        with self.assertRaisesRegex(millstream.UsageError, "`from` names `nobody`"):
            millstream.Job(self.job, set={"stages.words.from": "nobody"}).run()
        with self.assertRaises(millstream.MillstreamError):
            millstream.Job(self.job).status()
        text = JOB.replace(f"{ROOT}/plugins/split-words", f"{ROOT}/tests/plugins/poison")
        text = text[: text.index("[stages.counts]")] + '[sinks.out]\nfrom = "words"\nkind = "nothing"\n'
        self.job.write_text(text)
        (self.folder / "book.txt").write_text("good\npanic\n")
        with self.assertRaisesRegex(millstream.PluginError, "panicked at"):
            millstream.Job(self.job, workers=1).run()

    def test_ctrl_c_stops_a_job_gracefully(self):
        self.running()
        code = f"import millstream; millstream.Job({str(self.job)!r}, workers=1).run()"
        child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True)
        job = millstream.Job(self.job)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                job.status()
                break
            except millstream.MillstreamError:
                time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        output = child.communicate(timeout=60)[1]
        self.assertIn("KeyboardInterrupt", output)
        with self.assertRaises(millstream.MillstreamError):
            job.status()


if __name__ == "__main__":
    unittest.main()
