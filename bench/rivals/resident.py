"""An engine process that runs one job after another, as a cluster does. The cost of a job is the CPU time that the process and its
descendants use for it.

The process reads one job per line from standard input. It prints `@@ ready` when it has started, and `@@ done` or `@@ failed` after each job.
"""

import os
import queue
import signal
import subprocess
import threading
import time

import measure

START_TIMEOUT_S = 120
SAMPLE_INTERVAL_S = 0.1
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def family(root):
    """The process and its descendants."""
    parents = measure.processes()
    found, front = set(), {root}
    while front:
        found |= front
        front = {process for process, (parent, _) in parents.items() if parent in front}
    return found


def cpu_seconds(members):
    """The CPU time of the processes, including their children that have exited."""
    ticks = 0
    for process in members:
        try:
            with open(f"/proc/{process}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS_PER_S


class Resident:
    """A process that starts with the first job. It restarts after a job that failed or took too long, which may have broken it."""

    def __init__(self, command, log, env, cwd):
        self.command, self.log, self.env, self.cwd = list(map(str, command)), log, env, cwd
        self.process, self.startup_cost = None, None

    def start(self):
        start = time.monotonic()
        self.replies = queue.Queue()
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(self.log, "ab"), env=self.env, cwd=self.cwd,
            text=True, start_new_session=True,
        )
        threading.Thread(target=self.read_replies, args=(self.process, self.replies), daemon=True).start()
        if self.next_reply(START_TIMEOUT_S)[0] != "ready":
            self.stop()
            raise RuntimeError(f"the engine does not start; see {self.log}")
        members = family(self.process.pid)
        self.startup_cost = {
            "wall_s": time.monotonic() - start, "cpu_s": cpu_seconds(members), "rss_bytes": resident_bytes(members),
        }

    @staticmethod
    def read_replies(process, replies):
        for line in process.stdout:
            if line.startswith("@@ "):
                replies.put(line[3:].strip())
        replies.put("exited")

    def next_reply(self, seconds):
        """The next reply, and the peak memory until then."""
        deadline, peak = time.monotonic() + seconds, 0
        while time.monotonic() < deadline:
            peak = max(peak, resident_bytes(family(self.process.pid)))
            try:
                return self.replies.get(timeout=SAMPLE_INTERVAL_S), peak
            except queue.Empty:
                pass
        return "timeout", peak

    def run(self, line, seconds_max):
        """Runs a job. Returns its costs, or the reason why it failed."""
        if self.process is None:
            try:
                self.start()
            except RuntimeError as error:
                return {"failed": str(error), "log": str(self.log)}
        before, start = cpu_seconds(family(self.process.pid)), time.monotonic()
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # The process has exited; the next reply is `exited`.
        reply, peak = self.next_reply(seconds_max)
        ended, after = time.monotonic(), cpu_seconds(family(self.process.pid))
        if reply != "done":
            self.stop()
            return {"failed": f"not done within {seconds_max} s" if reply == "timeout" else "failed", "log": str(self.log)}
        return {"wall_s": ended - start, "cpu_s": after - before, "rss_bytes": peak}

    def stop(self):
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
            self.process = None


def resident_bytes(members):
    now = measure.processes()
    return sum(now[process][1] for process in members if process in now)
