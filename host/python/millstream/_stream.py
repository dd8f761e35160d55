"""Streams the rows of a running job to this process, through an Arrow Flight server that a sink of the job writes to."""

from __future__ import annotations

import json
import queue
import secrets
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import pyarrow
import pyarrow.flight as flight

_SINK = "python_rows"
_WAIT_SECONDS = 0.05


class _TokenCheck(flight.ServerMiddlewareFactory):
    """Rejects calls without the token."""

    def __init__(self, token: str) -> None:
        self._token = f"Bearer {token}"

    def start_call(self, info: flight.CallInfo, headers: dict[str, list[str]]) -> None:
        brought = [value for name, values in headers.items() if name.lower() == "authorization" for value in values]
        if not any(secrets.compare_digest(value, self._token) for value in brought):
            raise flight.FlightUnauthenticatedError("wrong token: this server receives the rows of another job")


class _Server(flight.FlightServerBase):
    def __init__(self, rows: queue.Queue[list[pyarrow.RecordBatch]], token: str) -> None:
        super().__init__("grpc://127.0.0.1:0", middleware={"token": _TokenCheck(token)})
        self._rows = rows
        self._last = 0
        self.closed = False

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        rows, number = [], 0
        for chunk in reader:
            if chunk.app_metadata is not None:
                number = json.loads(chunk.app_metadata.to_pybytes())["batch"]
            rows.append(chunk.data)
        # A batch whose response was lost arrives again.
        if number and number <= self._last:
            return
        while not self.closed:
            try:
                self._rows.put(rows, timeout=_WAIT_SECONDS)
                self._last = number
                return
            except queue.Full:
                pass


class Stream:
    """A Flight server and the rows that it has received. The job waits until they are taken."""

    def __init__(self) -> None:
        self._rows: queue.Queue[list[pyarrow.RecordBatch]] = queue.Queue(maxsize=1)
        self._token = secrets.token_hex(16)
        self._server = _Server(self._rows, self._token)

    def sink(self, stage: str) -> dict[str, Any]:
        """Returns the job file settings of a sink that writes the rows of ``stage`` to this server."""
        values = {
            "from": stage,
            "kind": "flight",
            "url": f"grpc://127.0.0.1:{self._server.port}",
            "path": "rows",
            "token": self._token,
        }
        return {f"sinks.{_SINK}.{key}": value for key, value in values.items()}

    def batches(self, runs: Callable[[], bool]) -> Iterator[pyarrow.RecordBatch]:
        """Yields the received rows. Ends when ``runs`` returns False and no rows are left."""
        while True:
            running = runs()
            try:
                yield from self._rows.get(timeout=_WAIT_SECONDS)
            except queue.Empty:
                if not running:
                    return

    def close(self) -> None:
        """Discards all rows from now on."""
        self._server.closed = True

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._server.shutdown()
