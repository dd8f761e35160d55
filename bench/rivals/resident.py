"""An engine whose process stays and takes one job after the other, as a cluster of its does. What a job costs is the difference that it makes to
the processor time of the process and all below it."""

import os
import queue
import signal
import subprocess
import threading
import time

import measure

STARTS_WITHIN_S = 120
LOOK_EVERY_S = 0.1
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def family(root):
    """The process and all below it."""
    parents = measure.processes()
    found, front = set(), {root}
    while front:
        found |= front
        front = {process for process, (parent, _) in parents.items() if parent in front}
    return found


def cpu_seconds(members):
    """What they have used, with children of theirs that have ended."""
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
    """Started when the first job comes, and again after one that failed or took too long: it may have taken the engine with it."""

    def __init__(self, command, log, env, cwd):
        self.command, self.log, self.env, self.cwd = list(map(str, command)), log, env, cwd
        self.process, self.start = None, None

    def begin(self):
        began = time.monotonic()
        self.answers = queue.Queue()
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(self.log, "ab"), env=self.env, cwd=self.cwd,
            text=True, start_new_session=True,
        )
        threading.Thread(target=self.hear, args=(self.process, self.answers), daemon=True).start()
        if self.answer(STARTS_WITHIN_S)[0] != "ready":
            self.end()
            raise RuntimeError(f"it does not start; see {self.log}")
        members = family(self.process.pid)
        self.start = {
            "wall_s": time.monotonic() - began, "cpu_s": cpu_seconds(members), "rss_bytes": resident_bytes(members),
        }

    @staticmethod
    def hear(process, answers):
        for line in process.stdout:
            if line.startswith("@@ "):
                answers.put(line[3:].strip())
        answers.put("gone")

    def answer(self, seconds):
        """The next answer, and the most memory until then."""
        until, peak = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            peak = max(peak, resident_bytes(family(self.process.pid)))
            try:
                return self.answers.get(timeout=LOOK_EVERY_S), peak
            except queue.Empty:
                pass
        return "late", peak

    def run(self, line, seconds_max):
        """What a job costs, or a word about why it failed."""
        if self.process is None:
            try:
                self.begin()
            except RuntimeError as wrong:
                return {"failed": str(wrong), "log": str(self.log)}
        before, began = cpu_seconds(family(self.process.pid)), time.monotonic()
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # It has gone, and says so.
        word, peak = self.answer(seconds_max)
        ended, after = time.monotonic(), cpu_seconds(family(self.process.pid))
        if word != "done":
            self.end()
            return {"failed": f"not done within {seconds_max} s" if word == "late" else "failed", "log": str(self.log)}
        return {"wall_s": ended - began, "cpu_s": after - before, "rss_bytes": peak}

    def end(self):
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
