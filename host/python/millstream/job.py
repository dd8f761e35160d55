"""Jobs, which the program `millstream` runs in a process of its own."""

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
    """A job of the file ``path``.

    ``set`` replaces or adds values of the file: ``{"sources.lines.path": "book.txt"}``. ``env`` adds variables of the environment,
    as the file's ``${NAME}`` needs them. Use it as a context, so that the job is stopped when it is left::

        with millstream.Job("job.toml") as job:
            job.start()
            print(job.status()["batch"])
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
        self._words: deque[str] = deque(maxlen=_LINES_MAX)
        self._listener: threading.Thread | None = None

    def validate(self) -> str:
        """Checks the job and its plugins without running anything, and tells the columns of every stream."""
        return self._ask("validate", self.path, *self._set_arguments({}))

    def run(self, *, until_idle: bool = False, timeout: str | None = None, limit: int | None = None) -> None:
        """Runs the job until it ends. Ctrl-C stops it gracefully.

        ``until_idle`` ends it once every source is finished or has had nothing to read for two seconds, ``timeout`` after this
        time, as ``"30s"``, ``limit`` after so many rows of each source.
        """
        try:
            self.start(until_idle=until_idle, timeout=timeout, limit=limit)
            self.wait()
        except KeyboardInterrupt:
            self._interrupt()
            raise

    def start(self, *, until_idle: bool = False, timeout: str | None = None, limit: int | None = None) -> None:
        """Starts the job, which goes on beside. See :meth:`run`."""
        self._start({}, until_idle, timeout, limit)

    def wait(self) -> None:
        """Waits until the job has ended; an exception where it failed."""
        process = self._process
        if process is None:
            return
        try:
            while process.poll() is None:
                time.sleep(0.02)
        except KeyboardInterrupt:
            self._interrupt()
            raise
        self._ended()

    def stop(self, timeout: float = 300) -> None:
        """Stops the job gracefully: what it has received is worked on and committed first. One that runs elsewhere on this machine
        is stopped, too."""
        if self._process is None:
            self._ask("stop", self.path, "--timeout", f"{int(timeout)}s")
            return
        self._interrupt(timeout)
        self._ended()

    def is_running(self) -> bool:
        """Whether the job that this object has started runs."""
        return self._process is not None and self._process.poll() is None

    def status(self) -> dict[str, Any]:
        """How the running job stands: batches, rows, rejected and late rows, what its plugins cost."""
        status: dict[str, Any] = json.loads(self._ask("status", self.path, "--json"))
        return status

    def state(self, sql: str, *, batch: int | None = None) -> list[dict[str, Any]]:
        """Queries the state that the job's checkpoint holds, in tables that are named as the stages."""
        more = [] if batch is None else ["--batch", str(batch)]
        arguments = ["state", self.path, "--sql", sql, "--json", *more, *self._set_arguments({}, "checkpoint.")]
        return [json.loads(line) for line in self._ask(*arguments).splitlines()]

    def rows(
        self, stage: str, *, until_idle: bool = False, timeout: str | None = None, limit: int | None = None
    ) -> Iterator[pyarrow.RecordBatch]:
        """Runs the job, and gives the rows of a stage (or of ``<stage>.rejected``, or a source) as they are committed.

        The job waits where nobody takes them, and is stopped where nobody wants more. It has one sink more for this while, of kind
        ``flight``, whose server is here; this needs the package ``pyarrow``. Rows come at least once: a job that is started again
        from a checkpoint goes on behind those that were taken.
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
            self._ended()

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
            raise _native.UsageError(f"{self.path} runs already; stop it first")
        arguments = [str(program()), "run", self.path, "--no-ui", "--quiet", *self._set_arguments(sink)]
        if self._workers is not None:
            arguments += ["--workers", str(self._workers)]
        if until_idle:
            arguments.append("--until-idle")
        if timeout is not None:
            arguments += ["--timeout", timeout]
        if limit is not None:
            arguments += ["--limit", str(limit)]
        self._words.clear()
        with _interrupts_deferred():
            # In a group of its own, so that only this process receives Ctrl-C.
            self._process = subprocess.Popen(
                arguments,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=None,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        self._listener = threading.Thread(target=self._listen, args=(self._process,), daemon=True)
        self._listener.start()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            while line := lines.readline(_LINE_BYTES_MAX):
                self._words.append(line.decode(errors="replace").rstrip("\n"))

    def _interrupt(self, timeout: float = 300) -> None:
        """Stops the process gracefully, and kills it where it does not end in time."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise _native.EnvironmentError(f"{self.path} has not ended within {timeout} s, and was killed") from None

    def _ended(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        code = process.wait()
        if self._listener is not None:
            self._listener.join(timeout=5)
        if code != 0:
            raise _error(code, "\n".join(self._words))

    def _ask(self, *arguments: str) -> str:
        asked = subprocess.run(
            [str(program()), *arguments], env=self._env, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        if asked.returncode != 0:
            raise _error(asked.returncode, (asked.stderr or asked.stdout).decode(errors="replace"))
        return asked.stdout.decode(errors="replace")

    def _set_arguments(self, sink: Mapping[str, Any], prefix: str = "") -> list[str]:
        sets = {**self._sets, **{key: _toml(value) for key, value in sink.items()}}
        return [part for key, value in sets.items() if key.startswith(prefix) for part in ("--set", f"{key}={value}")]

    def __repr__(self) -> str:
        return f"<millstream.Job {self.path}{', running' if self.is_running() else ''}>"


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Raises a Ctrl-C at the end. An interrupted ``Popen`` would leave a process that nothing stops."""
    # Only the main thread is interrupted. A handler that is not from Python cannot be restored.
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
    """A value as the command line takes it: plain text, or TOML, of which JSON's texts, numbers and lists are a part."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _error(code: int, words: str) -> _native.MillstreamError:
    lines = words.strip().splitlines()
    starts = [place for place, line in enumerate(lines) if line.startswith("error: ")]
    text = "\n".join(lines[starts[-1] :]).removeprefix("error: ") if starts else words.strip()
    text = text or f"the program `millstream` ended with {code}"
    if code == 2:
        return _native.UsageError(text)
    if code == 1 and "plugin " in text:
        return _native.PluginError(text)
    return _native.EnvironmentError(text)
