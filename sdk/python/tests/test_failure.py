"""Errors of failed calls, as the host receives them."""

import unittest
from dataclasses import dataclass

from millstream import ConfigError, InternalError, files, log, testing, transform
from millstream.failure import to_plugin_error


@dataclass
class Row:
    x: int


def message_of(function) -> str:  # type: ignore[no-untyped-def]
    try:
        testing.transform(transform(function)).run([{"x": 1}])
    except Exception as error:
        failure = to_plugin_error(error)
        assert isinstance(failure, InternalError)
        return str(failure)
    raise AssertionError("it did not fail")


class FailureTest(unittest.TestCase):
    def test_the_traceback_shows_the_authors_lines_only(self) -> None:
        def divides(x: int) -> Row:
            return Row(x // 0)

        message = message_of(divides)
        self.assertRegex(message, r'^Traceback \(most recent call last\):\n  File ".*test_failure\.py", line \d+, in ')
        self.assertIn("return Row(x // 0)\n", message)
        self.assertTrue(message.endswith("ZeroDivisionError: integer division or modulo by zero"), message)
        self.assertNotIn("millstream/", message)
        self.assertNotIn("<millstream", message)

    def test_the_message_includes_the_cause(self) -> None:
        def fails(x: int) -> Row:
            try:
                raise KeyError("inner")
            except KeyError as error:
                raise ValueError("outer") from error

        message = message_of(fails)
        self.assertIn("KeyError: 'inner'", message)
        self.assertIn("direct cause", message)
        self.assertTrue(message.endswith("ValueError: outer"))

    def test_a_row_of_another_class_is_named(self) -> None:
        def forgets(x: int) -> Row:
            pass  # type: ignore[return]

        message = message_of(forgets)
        self.assertRegex(message, r"forgets\(\) returned None instead of Row: is a `return` missing\?\n")
        self.assertRegex(message, r'\n  File ".*test_failure\.py", line \d+, in forgets$')

        def other(x: int) -> Row:
            return x  # type: ignore[return-value]

        self.assertRegex(message_of(other), r"other\(\) returned 1 for row 0, which is not a Row: .*attribute 'x'")

    def test_errors_of_the_three_kinds_are_unchanged(self) -> None:
        error = ConfigError("no such file")
        self.assertIs(to_plugin_error(error), error)

    def test_a_missing_file_is_named(self) -> None:
        with self.assertRaisesRegex(FileNotFoundError, "testdata/missing"):
            files.read_all("missing")

    def test_files_of_a_component_have_the_projects_names(self) -> None:
        code = compile("def fails():\n    raise RuntimeError('no')", "/1/plugin.py", "exec")
        names: dict = {}
        exec(code, names)
        try:
            names["fails"]()
        except RuntimeError as error:
            self.assertIn('File "plugin.py", line 2, in fails', str(to_plugin_error(error)))

    def test_log_writes_lines(self) -> None:
        import contextlib
        import io

        with contextlib.redirect_stderr(io.StringIO()) as written:
            log.warn(7)
        self.assertEqual(written.getvalue(), "warn: 7\n")


if __name__ == "__main__":
    unittest.main()
