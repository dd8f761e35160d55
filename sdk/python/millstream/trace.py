"""Tells the host where the plugin's code stands, in a call that is made once more only to see that, after one took too long.

The host cannot look into CPython, and nothing in a component can interrupt it. So the code tells all the time where it is, and
what it told last is where it stands, also in a function written in C, as a search with a regular expression.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from .failure import is_told, named

#: Stands before the config of such a call, and before what is told.
SIGN = "\x01"
#: Calls that are told of a place: the innermost.
_FRAMES_MAX = 12
#: Bytes that the host takes of a line.
_BYTES_MAX = 4000


def begins(config: str, tell: Callable[[str], None]) -> str:
    """The config of a call as the stage has it. Where it says that the call is for this, it is told from now on where the code
    is."""
    if not config.startswith(SIGN):
        return config
    sys.settrace(_tracer(tell))
    return config[len(SIGN) :]


def _tracer(tell: Callable[[str], None]) -> Callable[[FrameType, str, Any], Any]:
    # By code and line: what to say of the place, how often it was passed, and when to say again how it was come to.
    places: dict[tuple[int, int], list[Any]] = {}
    # Keeps code alive that is known by its address.
    codes: list[CodeType] = []

    def stands(frame: FrameType) -> None:
        at = id(frame.f_code), frame.f_lineno
        place = places.get(at)
        if place is None:
            codes.append(frame.f_code)
            place = places[at] = [f"{SIGN}{len(places)}", 0, 1]
        place[1] += 1
        if place[1] < place[2]:
            tell(place[0])
            return
        # How it came here costs much more to say than where it is, so it is said less and less often.
        place[2] *= 2
        tell(f"{place[0]}\n{_calls(frame)}")

    def in_function(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            stands(frame)
        elif event == "return" and frame.f_back is not None and is_told(frame.f_back.f_code.co_filename):
            # What is called next in the line may be written in C.
            stands(frame.f_back)
        return in_function

    def called(frame: FrameType, event: str, argument: Any) -> Any:
        if not is_told(frame.f_code.co_filename):
            return None
        stands(frame)
        return in_function

    return called


def _calls(frame: FrameType) -> str:
    """How a frame was come to, as in a traceback."""
    found: list[traceback.FrameSummary] = []
    at: FrameType | None = frame
    while at is not None and len(found) < _FRAMES_MAX:
        if is_told(at.f_code.co_filename):
            found.append(named(traceback.FrameSummary(at.f_code.co_filename, at.f_lineno, at.f_code.co_name)))
        at = at.f_back
    found.reverse()
    while True:
        told = "Traceback (most recent call last):\n" + "".join(traceback.StackSummary.from_list(found).format())
        if len(told.encode(errors="replace")) <= _BYTES_MAX or not found:
            return told
        del found[0]
