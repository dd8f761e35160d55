"""Host functions of a component. Only `glue` imports this: outside of a component there is no `wit_world`."""

from __future__ import annotations

from typing import Any

from componentize_py_types import Err
from wit_world.imports import files, log, metrics

from . import host, net

_LEVELS = {level.name.lower(): level for level in log.Level}


class ComponentHost(host.Host):
    """The host of a component. ``timers``, ``sockets`` and ``requests`` are imports that only some worlds have."""

    def __init__(self, timers: Any, sockets: Any, requests: Any) -> None:
        super().__init__()
        self._timers = timers
        self._sockets = sockets
        self._requests = requests

    def log(self, level: str, message: str) -> None:
        log.write(_LEVELS[level], message)

    def add(self, counter: str, amount: int) -> None:
        metrics.add(counter, amount)

    def file_size(self, name: str) -> int:
        try:
            return files.size(name)
        except Err as error:
            raise FileNotFoundError(error.value) from None

    def file_read(self, name: str, offset: int, length: int | None) -> bytes:
        try:
            return files.read(name, offset, 0xFFFFFFFF if length is None else length)
        except Err as error:
            raise FileNotFoundError(error.value) from None

    def set_timer(self, group: int, at: int) -> None:
        self._timers.set(group, at)

    def cancel_timer(self, group: int, at: int) -> None:
        self._timers.cancel(group, at)

    def due(self) -> host.Due:
        due = self._timers.due()
        return host.Due(due.ends, due.times)

    def connect(self, name: str, port: int, timeout_ms: int) -> int:
        return self._net("connect", name, port, timeout_ms)

    def read(self, socket: int, bytes_max: int, timeout_ms: int) -> bytes:
        return self._net("read", socket, bytes_max, timeout_ms)

    def write(self, socket: int, data: bytes, timeout_ms: int) -> None:
        self._net("write", socket, data, timeout_ms)

    def bind(self, name: str, port: int) -> int:
        return self._net("bind", name, port)

    def receive(self, socket: int, bytes_max: int, timeout_ms: int) -> tuple[str, bytes]:
        came = self._net("receive", socket, bytes_max, timeout_ms)
        return came.sender, came.data

    def send(self, socket: int, name: str, port: int, data: bytes) -> None:
        self._net("send", socket, name, port, data)

    def close(self, socket: int) -> None:
        self._net("close", socket)

    def _net(self, function: str, *arguments: Any) -> Any:
        if self._sockets is None:
            raise net.Fault("only plugins of worlds source and sink have connections and datagrams")
        try:
            return getattr(self._sockets, function)(*arguments)
        except Err as error:
            fault = error.value
        # Outside of `except`, so that the traceback shows one error.
        if isinstance(fault, self._sockets.Fault_Timeout):
            raise net.TimedOut("timed out")
        if isinstance(fault, self._sockets.Fault_Closed):
            raise net.Closed("the other side has closed the connection")
        raise net.Fault(fault.value)

    def ask(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, timeout_ms: int, body_bytes_max: int
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        if self._requests is None:
            raise net.Fault('write what it asks for into pyproject.toml: [tool.millstream.grants], http = { hosts = ["…"] }')
        return self._requests.ask(method, url, headers, body, timeout_ms, body_bytes_max)  # type: ignore[no-any-return]
