"""Where a call stands that takes too long."""

import sys
import unittest

from millstream import trace


class Ended(BaseException):
    """What the host does when the time of the call is over."""


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
    def told(self, function) -> list[str]:  # type: ignore[no-untyped-def]
        told: list[str] = []
        before = sys.gettrace()
        try:
            self.assertEqual(trace.begins('\x01{"a": 1}', told.append), '{"a": 1}')
            function()
        except Ended:
            pass
        finally:
            sys.settrace(before)
        return told

    def test_other_calls_are_not_traced(self) -> None:
        before = sys.gettrace()
        self.assertEqual(trace.begins("{}", self.fail), "{}")
        self.assertIs(sys.gettrace(), before)

    def test_the_line_is_told_last_that_it_stands_in(self) -> None:
        told = self.told(stops)
        self.assertTrue(told[-1].startswith("\x01"))
        line = stops.__code__.co_firstlineno + 3
        places = {place.partition("\n")[0]: place for place in told if "\n" in place}
        self.assertTrue(any(f'test_trace.py", line {line}, in stops' in place for place in places.values()), told)

    def test_how_it_came_there_is_told_less_and_less_often(self) -> None:
        told = self.told(lambda: waits(1000))
        self.assertGreater(len(told), 2000)
        whole = [place for place in told if "\n" in place]
        self.assertLess(len(whole), 100)
        self.assertLess(max(len(place.encode()) for place in whole), 4096)
        self.assertIn("Traceback (most recent call last):\n", whole[-1])

    def test_deep_calls_are_told_by_the_innermost(self) -> None:
        def deeper(depth: int) -> int:
            return depth if depth == 0 else deeper(depth - 1)

        told = [place for place in self.told(lambda: deeper(200)) if "\n" in place]
        self.assertTrue(all(place.count("in deeper") <= 12 for place in told))
        self.assertTrue(any("in deeper" in place for place in told))


if __name__ == "__main__":
    unittest.main()
