"""Jobs, each run by the program `millstream` in a separate process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import _native
from ._program import program

if TYPE_CHECKING:
    import pyarrow

_LINES_MAX = 200
_LINE_BYTES_MAX = 4096


class Job:
    """A job defined by the job file ``path``.

    ``set`` replaces or adds settings of the file, for example ``{"sources.lines.path": "book.txt"}``. ``workers`` is the number of
    workers. ``env`` adds environment variables, for example for ``${NAME}`` in the file.

    Used as a context manager, it stops the job at the end of the block::

        with millstream.Job("job.toml") as job:
            job.start()
            print(job.status()["batch"])

    If the job fails, its error message becomes a :class:`UsageError`, :class:`PluginError` or :class:`EnvironmentError`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        set: Mapping[str, Any] | None = None,
        workers: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.path = os.path.abspath(os.fspath(path))
        self._sets = {key: _toml(value) for key, value in (set or {}).items()}
        self._workers = workers
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr_lines: deque[str] = deque(maxlen=_LINES_MAX)
        self._stderr_reader: threading.Thread | None = None

    def validate(self) -> str:
        """Checks the job and its plugins without running it. Returns a text that lists each stream with its columns."""
        return self._command("validate", self.path, *self._set_arguments({}))

    def run(self, *, until_idle: bool = False, timeout: str | None = None, limit: int | None = None) -> None:
        """Runs the job until it ends. Ctrl-C stops it gracefully.

        ``until_idle`` stops the job once every source is finished or has been idle for two seconds. ``timeout`` stops it after a
        time, for example ``"30s"``. ``limit`` stops it after this many rows of each source.
        """
        try:
            self.start(until_idle=until_idle, timeout=timeout, limit=limit)
            self.wait()
        except KeyboardInterrupt:
            self._interrupt()
            raise

    def start(self, *, until_idle: bool = False, timeout: str | None = None, limit: int | None = None) -> None:
        """Starts the job in the background and returns immediately. See :meth:`run` for the arguments."""
        self._start({}, until_idle, timeout, limit)

    def wait(self) -> None:
        """Waits until the job has ended. Raises an exception if it failed. Ctrl-C stops the job gracefully."""
        process = self._process
        if process is None:
            return
        try:
            while process.poll() is None:
                time.sleep(0.02)
        except KeyboardInterrupt:
            self._interrupt()
            raise
        self._finish()

    def stop(self, timeout: float = 300) -> None:
        """Stops the job gracefully: it first processes and commits what it has received.

        If this object did not start the job, it stops the running job of the same file on this machine. If the job does not end
        within ``timeout`` seconds, it raises an :class:`EnvironmentError`; a job that this object started is then killed.
        """
        if self._process is None:
            self._command("stop", self.path, "--timeout", f"{int(timeout)}s")
            return
        self._interrupt(timeout)
        self._finish()

    def is_running(self) -> bool:
        """Returns whether the job runs, if this object started it; otherwise False."""
        return self._process is not None and self._process.poll() is None

    def status(self) -> dict[str, Any]:
        """Returns the status of the running job: batches, rows, rejected and late rows, and the costs of its plugins."""
        status: dict[str, Any] = json.loads(self._command("status", self.path, "--json"))
        return status

    def state(self, sql: str, *, batch: int | None = None) -> list[dict[str, Any]]:
        """Queries the state in the job's checkpoint. Returns one dictionary per result row.

        Each stage with state is a table of the same name. ``batch`` selects an older batch of the checkpoint.
        """
        more = [] if batch is None else ["--batch", str(batch)]
        arguments = ["state", self.path, "--sql", sql, "--json", *more, *self._set_arguments({}, "checkpoint.")]
        return [json.loads(line) for line in self._command(*arguments).splitlines()]

    def rows(
        self, stage: str, *, until_idle: bool = False, timeout: str | None = None, limit: int | None = None
    ) -> Iterator[pyarrow.RecordBatch]:
        """Runs the job. Yields the rows of a stage, of ``<stage>.rejected`` or of a source as they are committed.

        The job waits until you take the rows. It stops when you close the iterator. See :meth:`run` for the other arguments. It
        needs the package ``pyarrow``, since the job writes the rows to a temporary ``flight`` sink whose server is in this process.
        Rows arrive at least once. A job that is restarted from a checkpoint continues after the rows that were taken.
        """
        from ._stream import Stream

        with Stream() as stream:
            try:
                self._start(stream.sink(stage), until_idle, timeout, limit)
                yield from stream.batches(self.is_running)
            except KeyboardInterrupt:
                self._interrupt()
                raise
            except GeneratorExit:
                stream.close()
                self._interrupt()
                self._process = None
                raise
            self._finish()

    def __enter__(self) -> Job:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_running():
            self._interrupt()
        self._process = None

    def _start(self, sink: Mapping[str, Any], until_idle: bool, timeout: str | None, limit: int | None) -> None:
        if self.is_running():
            raise _native.UsageError(f"{self.path} is already running; stop it first")
        arguments = [str(program()), "run", self.path, "--no-ui", "--quiet", *self._set_arguments(sink)]
        if self._workers is not None:
            arguments += ["--workers", str(self._workers)]
        if until_idle:
            arguments.append("--until-idle")
        if timeout is not None:
            arguments += ["--timeout", timeout]
        if limit is not None:
            arguments += ["--limit", str(limit)]
        self._stderr_lines.clear()
        with _interrupts_deferred():
            # In a separate process group, so that only this process receives Ctrl-C.
            self._process = subprocess.Popen(
                arguments,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=None,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        self._stderr_reader = threading.Thread(target=self._read_stderr, args=(self._process,), daemon=True)
        self._stderr_reader.start()

    def _read_stderr(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            while line := lines.readline(_LINE_BYTES_MAX):
                self._stderr_lines.append(line.decode(errors="replace").rstrip("\n"))

    def _interrupt(self, timeout: float = 300) -> None:
        """Stops the process gracefully, or kills it after ``timeout`` seconds."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise _native.EnvironmentError(f"{self.path} did not stop within {timeout} s and was killed") from None

    def _finish(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        code = process.wait()
        if self._stderr_reader is not None:
            self._stderr_reader.join(timeout=5)
        if code != 0:
            raise _error(code, "\n".join(self._stderr_lines))

    def _command(self, *arguments: str) -> str:
        result = subprocess.run(
            [str(program()), *arguments], env=self._env, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        if result.returncode != 0:
            raise _error(result.returncode, (result.stderr or result.stdout).decode(errors="replace"))
        return result.stdout.decode(errors="replace")

    def _set_arguments(self, sink: Mapping[str, Any], prefix: str = "") -> list[str]:
        sets = {**self._sets, **{key: _toml(value) for key, value in sink.items()}}
        return [part for key, value in sets.items() if key.startswith(prefix) for part in ("--set", f"{key}={value}")]

    def __repr__(self) -> str:
        return f"<millstream.Job {self.path}{', running' if self.is_running() else ''}>"


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Defers Ctrl-C to the end of the block. An interrupted ``Popen`` would leave a process that nothing stops."""
    # Only the main thread receives the signal. A handler that was not installed from Python cannot be restored.
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    interrupted: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _: interrupted.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if interrupted:
        signal.raise_signal(signal.SIGINT)


def _toml(value: Any) -> str:
    """Formats a value for ``--set``: plain text, or JSON, whose strings, numbers and lists are valid TOML."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _error(code: int, output: str) -> _native.MillstreamError:
    lines = output.strip().splitlines()
    starts = [index for index, line in enumerate(lines) if line.startswith("error: ")]
    text = "\n".join(lines[starts[-1] :]).removeprefix("error: ") if starts else output.strip()
    text = text or f"the program `millstream` exited with code {code}"
    if code == 2:
        return _native.UsageError(text)
    if code == 1 and "plugin " in text:
        return _native.PluginError(text)
    return _native.EnvironmentError(text)
