"""Locations of calls that take too long."""

import sys
import unittest

from millstream import trace


class Ended(BaseException):
    """Ends a call, like the host at its time limit."""


def waits(turns: int) -> int:
    turn = 0
    while turn < turns:
        turn += 1
    return turn


def stops() -> None:
    try:
        raise Ended
    except ValueError:
        pass


class TraceTest(unittest.TestCase):
    def reports(self, function) -> list[str]:  # type: ignore[no-untyped-def]
        reports: list[str] = []
        before = sys.gettrace()
        try:
            self.assertEqual(trace.start('\x01{"a": 1}', reports.append), '{"a": 1}')
            function()
        except Ended:
            pass
        finally:
            sys.settrace(before)
        return reports

    def test_other_calls_are_not_traced(self) -> None:
        before = sys.gettrace()
        self.assertEqual(trace.start("{}", self.fail), "{}")
        self.assertIs(sys.gettrace(), before)

    def test_the_last_report_is_the_location(self) -> None:
        reports = self.reports(stops)
        self.assertTrue(reports[-1].startswith("\x01"))
        line = stops.__code__.co_firstlineno + 3
        locations = {location.partition("\n")[0]: location for location in reports if "\n" in location}
        self.assertTrue(any(f'test_trace.py", line {line}, in stops' in location for location in locations.values()), reports)

    def test_the_call_stack_is_reported_less_and_less_often(self) -> None:
        reports = self.reports(lambda: waits(1000))
        self.assertGreater(len(reports), 2000)
        stacks = [location for location in reports if "\n" in location]
        self.assertLess(len(stacks), 100)
        self.assertLess(max(len(location.encode()) for location in stacks), 4096)
        self.assertIn("Traceback (most recent call last):\n", stacks[-1])

    def test_only_the_innermost_calls_are_reported(self) -> None:
        def deeper(depth: int) -> int:
            return depth if depth == 0 else deeper(depth - 1)

        reports = [location for location in self.reports(lambda: deeper(200)) if "\n" in location]
        self.assertTrue(all(location.count("in deeper") <= 12 for location in reports))
        self.assertTrue(any("in deeper" in location for location in reports))


if __name__ == "__main__":
    unittest.main()
