"""Plugins in different processes: with threads, after forks, under limits, with Ctrl-C, without the program."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

import millstream
import pyarrow as pa

ROOT = Path(__file__).resolve().parents[2]
SPLIT = ROOT / "plugins" / "split-words"
TABLE = pa.table({"value": ["to be or not to be"] * 1000})
ROWS = 6000


def child(code: str, **env: str) -> subprocess.CompletedProcess:
    """Runs Python code in a separate process."""
    head = f"import millstream, os, sys, pyarrow as pa\nSPLIT = {str(SPLIT)!r}\nROOT = {str(ROOT)!r}\n"
    kept = {name: value for name, value in os.environ.items() if name not in env or env[name]}
    kept |= {name: value for name, value in env.items() if value}
    kept = {name: value for name, value in kept.items() if env.get(name) != ""}
    return subprocess.run([sys.executable, "-c", head + code], env=kept, capture_output=True, text=True, timeout=120)


class Processes(unittest.TestCase):
    def assert_went_well(self, ended: subprocess.CompletedProcess):
        self.assertEqual(ended.returncode, 0, ended.stderr)

    def test_eight_threads_call_a_plugin_and_release_the_gil(self):
        split, failures = millstream.Plugin(SPLIT), []

        def work():
            try:
                for _ in range(20):
                    self.assertEqual(len(split.process(TABLE).rows), ROWS)
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        # A looping call does not block other threads.
        loop = millstream.Plugin(ROOT / "tests" / "plugins" / "poison", limits={"time": "2s"})
        called = threading.Thread(target=lambda: self.assertRaises(millstream.PluginError, loop.process, pa.table({"value": ["loop"]})))
        called.start()
        counted = 0
        while called.is_alive() and counted < 50:
            self.assertEqual(len(split.process(TABLE).rows), ROWS)
            counted += 1
        self.assertTrue(called.is_alive(), "others were held up")
        called.join()

    def test_forks_before_and_after_the_first_use(self):
        unused, used = millstream.Plugin(SPLIT), millstream.Plugin(SPLIT)
        self.assertEqual(len(used.process(TABLE).rows), ROWS)
        for plugin in (unused, used):
            for _ in range(2):
                child = os.fork()
                if child == 0:
                    code = 1
                    try:
                        began = time.monotonic()
                        # A time limit needs a thread, which does not exist in a forked process.
                        made = len(plugin.process(TABLE).rows)
                        code = 0 if made == ROWS and time.monotonic() - began < 1.5 else 2
                    finally:
                        os._exit(code)
                self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        self.assertEqual(len(used.process(TABLE).rows), ROWS)

    def test_ctrl_c_ends_a_call_or_the_wait_for_it(self):
        code = """
import signal, threading, time
# With "fail", the call is interrupted. With "reject", it continues in a separate thread.
for on_error in ("fail", "reject"):
    loop = millstream.Plugin(ROOT + "/tests/plugins/poison", limits={"time": "30s"}, on_error=on_error)
    assert len(loop.process(pa.table({"value": ["a"]})).rows) == 1
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    try:
        loop.process(pa.table({"value": ["loop"]}))
        sys.exit("it was not interrupted")
    except KeyboardInterrupt:
        assert time.monotonic() - began < 10
    assert len(loop.process(pa.table({"value": ["a"]})).rows) == 1
"""
        self.assert_went_well(child(code))

    def test_a_handler_of_a_signal_may_call_the_plugin_that_it_interrupts(self):
        code = """
import signal
loop = millstream.Plugin(ROOT + "/tests/plugins/poison", limits={"time": "30s"})
# Create the tables first: pyarrow deadlocks if a signal handler calls it while it creates its first table.
one, loops = (pa.table({"value": [word]}) for word in ("a", "loop"))
def handler(*_):
    assert len(loop.process(one).rows) == 1
    raise RuntimeError("enough")
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.3)
try:
    loop.process(loops)
    sys.exit("it was not interrupted")
except RuntimeError as error:
    assert str(error) == "enough"
"""
        self.assert_went_well(child(code))

    def test_little_address_space_and_no_home_are_enough(self):
        code = """
import resource, threading
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
split = millstream.Plugin(SPLIT)
table = pa.table({"value": ["to be or not to be"] * 1000})
failures = []
def work():
    try:
        for _ in range(20):
            assert len(split.process(table).rows) == 6000
    except BaseException as failure:
        failures.append(failure)
threads = [threading.Thread(target=work) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not failures, failures
"""
        with tempfile.TemporaryDirectory() as settings:
            homeless = {"HOME": "", "XDG_CACHE_HOME": "", "XDG_STATE_HOME": "", "MILLSTREAM_CACHE": ""}
            self.assert_went_well(child(code, MILLSTREAM_CONFIG=settings, **homeless))

    def test_a_missing_program_is_an_error_and_not_a_compiler_without_limits(self):
        code = """
try:
    millstream.Plugin(SPLIT)
except millstream.EnvironmentError as error:
    assert "/no/such/millstream" in str(error), error
    sys.exit(0)
sys.exit("it was compiled")
"""
        with tempfile.TemporaryDirectory() as cache:
            private = {"XDG_CACHE_HOME": cache, "XDG_STATE_HOME": cache}
            self.assert_went_well(child(code, MILLSTREAM_PROGRAM="/no/such/millstream", **private))

    def test_nothing_runs_when_the_package_is_imported(self):
        code = """
import threading
assert len(os.listdir("/proc/self/task")) == before, "threads"
"""
        head = "before = len(os.listdir('/proc/self/task'))\n"
        self.assert_went_well(child(head + code))

    def test_the_command_is_the_program(self):
        command = Path(sys.executable).with_name("millstream")
        ended = subprocess.run([command, "--version"], capture_output=True, text=True)
        self.assertIn("millstream ", ended.stdout)


if __name__ == "__main__":
    unittest.main()
