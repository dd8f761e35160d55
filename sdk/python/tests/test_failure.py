"""What the host is told of calls that fail."""

import unittest
from dataclasses import dataclass

from millstream import ConfigError, InternalError, files, log, testing, transform
from millstream.failure import failed


@dataclass
class Row:
    x: int


def words(function) -> str:  # type: ignore[no-untyped-def]
    try:
        testing.transform(transform(function)).run([{"x": 1}])
    except Exception as error:
        told = failed(error)
        assert isinstance(told, InternalError)
        return str(told)
    raise AssertionError("it did not fail")


class FailureTest(unittest.TestCase):
    def test_the_traceback_shows_the_authors_lines_only(self) -> None:
        def divides(x: int) -> Row:
            return Row(x // 0)

        told = words(divides)
        self.assertRegex(told, r'^Traceback \(most recent call last\):\n  File ".*test_failure\.py", line \d+, in ')
        self.assertIn("return Row(x // 0)\n", told)
        self.assertTrue(told.endswith("ZeroDivisionError: integer division or modulo by zero"), told)
        self.assertNotIn("millstream/", told)
        self.assertNotIn("<millstream", told)

    def test_a_cause_is_told(self) -> None:
        def fails(x: int) -> Row:
            try:
                raise KeyError("inner")
            except KeyError as error:
                raise ValueError("outer") from error

        told = words(fails)
        self.assertIn("KeyError: 'inner'", told)
        self.assertIn("direct cause", told)
        self.assertTrue(told.endswith("ValueError: outer"))

    def test_a_row_of_another_kind_is_named(self) -> None:
        def forgets(x: int) -> Row:
            pass  # type: ignore[return]

        told = words(forgets)
        self.assertRegex(told, r"forgets\(\) returned None instead of Row: is a `return` missing\?\n")
        self.assertRegex(told, r'\n  File ".*test_failure\.py", line \d+, in forgets$')

        def other(x: int) -> Row:
            return x  # type: ignore[return-value]

        self.assertRegex(words(other), r"other\(\) gave 1 for row 0, which is no Row: .*attribute 'x'")

    def test_errors_of_the_three_kinds_pass(self) -> None:
        error = ConfigError("no such file")
        self.assertIs(failed(error), error)

    def test_a_file_that_is_not_there_is_named(self) -> None:
        with self.assertRaisesRegex(FileNotFoundError, "testdata/missing"):
            files.read_all("missing")

    def test_files_of_a_component_have_the_projects_names(self) -> None:
        code = compile("def fails():\n    raise RuntimeError('no')", "/1/plugin.py", "exec")
        names: dict = {}
        exec(code, names)
        try:
            names["fails"]()
        except RuntimeError as error:
            self.assertIn('File "plugin.py", line 2, in fails', str(failed(error)))

    def test_log_writes_lines(self) -> None:
        import contextlib
        import io

        with contextlib.redirect_stderr(io.StringIO()) as written:
            log.warn(7)
        self.assertEqual(written.getvalue(), "warn: 7\n")


if __name__ == "__main__":
    unittest.main()
