"""Reports where the plugin's code is, in a call that is repeated for this purpose after a timeout.

The host cannot inspect CPython, and nothing in a component can interrupt it. So the code reports its location continuously. The
last report is the location, even inside a function written in C, for example a regular expression search.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from .failure import is_shown, with_own_name

#: Prefix of the config of such a call, and of each report.
SIGN = "\x01"
#: Maximum reported calls, starting from the innermost.
_FRAMES_MAX = 12
#: Maximum bytes that the host accepts per line.
_BYTES_MAX = 4000


def start(config: str, report: Callable[[str], None]) -> str:
    """Returns the config of a call as the stage has it. If the call is such a repetition, starts the reports."""
    if not config.startswith(SIGN):
        return config
    sys.settrace(_tracer(report))
    return config[len(SIGN) :]


def _tracer(report: Callable[[str], None]) -> Callable[[FrameType, str, Any], Any]:
    # For each code and line: its report, how often it was reached, and when to report the call stack again.
    entries: dict[tuple[int, int], list[Any]] = {}
    # Keeps code objects alive, since they are identified by address.
    codes: list[CodeType] = []

    def report_location(frame: FrameType) -> None:
        at = id(frame.f_code), frame.f_lineno
        entry = entries.get(at)
        if entry is None:
            codes.append(frame.f_code)
            entry = entries[at] = [f"{SIGN}{len(entries)}", 0, 1]
        entry[1] += 1
        if entry[1] < entry[2]:
            report(entry[0])
            return
        # A call stack costs much more than a location, so it is reported less and less often.
        entry[2] *= 2
        report(f"{entry[0]}\n{_calls(frame)}")

    def in_function(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            report_location(frame)
        elif event == "return" and frame.f_back is not None and is_shown(frame.f_back.f_code.co_filename):
            # The next call in the line may be to a function written in C.
            report_location(frame.f_back)
        return in_function

    def called(frame: FrameType, event: str, argument: Any) -> Any:
        if not is_shown(frame.f_code.co_filename):
            return None
        report_location(frame)
        return in_function

    return called


def _calls(frame: FrameType) -> str:
    """Returns the call stack of a frame, as in a traceback."""
    found: list[traceback.FrameSummary] = []
    at: FrameType | None = frame
    while at is not None and len(found) < _FRAMES_MAX:
        if is_shown(at.f_code.co_filename):
            found.append(with_own_name(traceback.FrameSummary(at.f_code.co_filename, at.f_lineno, at.f_code.co_name)))
        at = at.f_back
    found.reverse()
    while True:
        text = "Traceback (most recent call last):\n" + "".join(traceback.StackSummary.from_list(found).format())
        if len(text.encode(errors="replace")) <= _BYTES_MAX or not found:
            return text
        del found[0]
