"""Runs the blocks of docs/how-to/use-plugins-in-python.md in order. The output of a block must equal the text below it."""

import contextlib
import io
import os
import re
import tempfile
import unittest
from pathlib import Path

from test_jobs import JOB

ROOT = Path(__file__).resolve().parents[2]


class Page(unittest.TestCase):
    def test_the_output_of_each_block_is_below_it(self):
        page = (ROOT / "docs" / "how-to" / "use-plugins-in-python.md").read_text(encoding="utf-8")
        blocks = re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        with tempfile.TemporaryDirectory() as folder:
            os.symlink(ROOT / "plugins", Path(folder, "plugins"))
            Path(folder, "job.toml").write_text(JOB)
            Path(folder, "book.txt").write_text("to be or not to be\nthat is the question\n")
            self.addCleanup(os.chdir, os.getcwd())
            os.chdir(folder)
            names, printed, count = {}, "", 0
            for language, text in blocks:
                if language == "python":
                    self.assertEqual(printed, "", "a block whose output is not shown")
                    with contextlib.redirect_stdout(io.StringIO()) as out:
                        exec(compile(text, "use-plugins-in-python.md", "exec"), names)
                    printed = out.getvalue()
                    count += 1
                elif language == "sh":
                    targets = re.findall(r"^make (\w+)$", text, re.MULTILINE)
                    for target in targets:
                        self.assertIn(f"\n{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"))
                elif language == "text":
                    made = [line.rstrip() for line in printed.replace(folder + "/", "").strip().splitlines()]
                    shown = [line.rstrip() for line in text.strip().splitlines()]
                    for own, theirs in zip(made, shown, strict=True):
                        self.assertRegex(own, "^" + re.escape(theirs).replace("…", ".*") + "$")
                    printed = ""
            self.assertEqual(printed, "", "a block whose output is not shown")
            self.assertGreater(count, 5)


if __name__ == "__main__":
    unittest.main()
