"""Runs a program and says what it cost, with all processes that came of it.

python3 measure.py REPORT COMMAND…: ends as the command does, with a line of JSON in the file REPORT. This is a process of its own because
it takes in what the command's processes leave behind (as init does), so that whatever ends is counted, once."""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
LOOK_EVERY_S = 0.1
LEFT_BEHIND_S = 5
KIB = 1024


def run(command, log, env=None, cwd=None, seconds_max=300):
    """What a command costs, or a word about why it failed. Its output goes to the file `log`."""
    report = f"{log}.json"
    with open(log, "wb") as out:
        tool = subprocess.Popen(
            [sys.executable, __file__, report, str(seconds_max), *map(str, command)],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd=cwd,
        )
        try:
            code = tool.wait()
        except BaseException:
            # Who stops the whole stops this, too.
            tool.terminate()
            raise
    if code != 0:
        return {"failed": f"ended with {code}", "log": str(log)}
    with open(report) as file:
        return json.load(file)


def processes():
    """Of each process of the machine its parent and its resident bytes."""
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
    """The resident bytes of each process below this one."""
    all_of_them = processes()
    below, front = {}, {os.getpid()}
    while front:
        front = {process for process, (parent, _) in all_of_them.items() if parent in front}
        below.update((process, all_of_them[process][1]) for process in front)
    return below


def end(signal_number):
    for process in descendants():
        try:
            os.kill(process, signal_number)
        except ProcessLookupError:
            pass


def main(report, seconds_max, command):
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: (end(signal.SIGKILL), sys.exit(1)))
    began = time.monotonic()
    # The signal that this process waits for is not kept from the command.
    child = subprocess.Popen(command, preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD}))
    peak, ended, code = 0, None, None
    while True:
        # Without waiting: memory is looked at meanwhile.
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
        if ended is None and now - began > seconds_max:
            print(f"ended after {seconds_max} s", file=sys.stderr)
            end(signal.SIGKILL)
        if ended is not None and now - ended > LEFT_BEHIND_S:
            end(signal.SIGKILL)
        wait_for_a_child(LOOK_EVERY_S)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(report, "w") as file:
        json.dump(
            {
                "wall_s": ended - began,
                "cpu_s": used.ru_utime + used.ru_stime,
                # A process that was there between two looks is known by its own peak.
                "rss_bytes": max(peak, used.ru_maxrss * KIB),
            },
            file,
        )
    return code if code >= 0 else 128 - code


def wait_for_a_child(seconds):
    """Returns when a child has ended, or after this time."""
    signal.sigtimedwait({signal.SIGCHLD}, seconds)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    sys.exit(main(sys.argv[1], float(sys.argv[2]), sys.argv[3:]))
