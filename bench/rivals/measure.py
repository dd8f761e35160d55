"""Runs a command and measures the time and memory of all its processes.

    python3 measure.py REPORT SECONDS_MAX COMMAND…

Exits with the command's exit code, and writes a line of JSON to the file REPORT. This is a separate process because it adopts orphaned
processes of the command, as init does, so that each process is counted once.
"""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
SAMPLE_INTERVAL_S = 0.1
ORPHAN_TIMEOUT_S = 5
KIB = 1024


def run(command, log, env=None, cwd=None, seconds_max=300):
    """Runs a command with its output in the file `log`. Returns its costs, or the reason why it failed."""
    report = f"{log}.json"
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [sys.executable, __file__, report, str(seconds_max), *map(str, command)],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd=cwd,
        )
        try:
            code = process.wait()
        except BaseException:
            # Also stop the command if this process is interrupted.
            process.terminate()
            raise
    if code != 0:
        return {"failed": f"exit code {code}", "log": str(log)}
    with open(report) as file:
        return json.load(file)


def processes():
    """The parent and the resident bytes of each process of the machine."""
    page = os.sysconf("SC_PAGE_SIZE")
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
            except OSError:
                continue
            found[int(name)] = (int(fields[1]), int(fields[21]) * page)
    return found


def descendants():
    """The resident bytes of each descendant of this process."""
    all_processes = processes()
    found, front = {}, {os.getpid()}
    while front:
        front = {process for process, (parent, _) in all_processes.items() if parent in front}
        found.update((process, all_processes[process][1]) for process in front)
    return found


def send_to_descendants(signal_number):
    for process in descendants():
        try:
            os.kill(process, signal_number)
        except ProcessLookupError:
            pass


def main(report, seconds_max, command):
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: (send_to_descendants(signal.SIGKILL), sys.exit(1)))
    start = time.monotonic()
    # This process blocks SIGCHLD to wait for it; the command must not inherit that.
    child = subprocess.Popen(command, preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD}))
    peak, ended, code = 0, None, None
    while True:
        # WNOHANG: does not wait, so that memory is sampled meanwhile.
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if process == child.pid:
            code, ended = os.waitstatus_to_exitcode(status), time.monotonic()
        if process:
            continue
        now = time.monotonic()
        peak = max(peak, sum(descendants().values()))
        if ended is None and now - start > seconds_max:
            print(f"killed after {seconds_max} s", file=sys.stderr)
            send_to_descendants(signal.SIGKILL)
        if ended is not None and now - ended > ORPHAN_TIMEOUT_S:
            send_to_descendants(signal.SIGKILL)
        wait_for_child(SAMPLE_INTERVAL_S)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(report, "w") as file:
        json.dump(
            {
                "wall_s": ended - start,
                "cpu_s": used.ru_utime + used.ru_stime,
                # The largest process may have exited between two samples.
                "rss_bytes": max(peak, used.ru_maxrss * KIB),
            },
            file,
        )
    return code if code >= 0 else 128 - code


def wait_for_child(seconds):
    """Waits until a child exits, or for this time."""
    signal.sigtimedwait({signal.SIGCHLD}, seconds)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    sys.exit(main(sys.argv[1], float(sys.argv[2]), sys.argv[3:]))
