"""The cache of compiled code: where it is, and that one process compiles while others wait."""

import os
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = f"""
import millstream
plugin = millstream.Plugin({str(ROOT / "plugins" / "split-words")!r})
print(plugin._native.was_cached)
"""


def start(cache: str) -> subprocess.Popen:
    env = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    env |= {"MILLSTREAM_CACHE": cache}
    return subprocess.Popen([sys.executable, "-c", CODE], env=env, stdout=subprocess.PIPE, text=True)


def output(process: subprocess.Popen) -> str:
    return process.communicate(timeout=120)[0].strip()


class Cache(unittest.TestCase):
    def test_one_process_compiles_and_the_others_wait_for_it(self):
        with tempfile.TemporaryDirectory() as folder:
            cache = os.path.join(folder, "cache")
            processes = [start(cache) for _ in range(4)]
            self.assertEqual(sorted(map(output, processes)), ["False", "True", "True", "True"])
            self.assertEqual(stat.S_IMODE(os.stat(cache).st_mode), 0o700)
            self.assertEqual(output(start(cache)), "True")

    def test_a_directory_that_other_users_can_write_is_not_trusted(self):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o777)
            self.assertEqual([output(start(folder)) for _ in range(2)], ["False", "False"])


if __name__ == "__main__":
    unittest.main()
