"""What the runs come to: medians, rates without the start, and the goals."""

import os
import platform
from statistics import median

import jobs

# Rates are of what is left of the time when the start is taken off. Less than this share of the start is lost in it, as starts of one engine lie
# further apart: then there is no rate, and more events would tell.
LEFT_OF_START_MIN = 0.25
NAMES = {
    "millstream": "Millstream",
    "millstream-made": "Millstream, events made by itself",
    "flink-heap": "Flink, heap",
    "flink-rocksdb": "Flink, RocksDB",
    "spark": "Spark",
    "bytewax": "Bytewax",
}
MEMORY_MIB_MAX = 1024
# Million events a second of processor time that each query is to do.
EVENTS_MIN = {0: 3, 1: 3, 2: 3, 8: 1.5, 11: 1.5, 5: 1, 7: 1}
TIMES_FLINK_MIN = 5
JSON_ROWS_MIN = 6
TWO_WORKERS_MIN = 1.8
NATIVE_SHARE_MIN = 0.75


def machine():
    """The processor, the memory and the system."""
    with open("/proc/cpuinfo") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    model = models[0] if models else platform.machine()
    return f"{len(models) or os.cpu_count()} × {model}, {gib:.0f} GiB, Linux {platform.release()}"


def rate(counted, took_s, start_s):
    """Millions a second without the start, or nothing where that is lost in the start."""
    left_s = took_s - start_s
    return counted / left_s / 1e6 if left_s > LEFT_OF_START_MIN * start_s else None


class Figure:
    """What one engine did in one job: medians over its runs."""

    def __init__(self, counted, one):
        runs = one["runs"]
        self.cpu_s, self.wall_s = median(run["cpu_s"] for run in runs), median(run["wall_s"] for run in runs)
        self.start_s = one["start"]["cpu_s"]
        self.mib = max(run["rss_bytes"] for run in runs) / (1 << 20)
        self.million_per_cpu_s = rate(counted, self.cpu_s, self.start_s)
        # Of the whole process, its start included.
        self.million_per_cpu_s_whole = counted / self.cpu_s / 1e6
        self.million_per_s = rate(counted, self.wall_s, one["start"]["wall_s"])
        self.spread = (max(run["cpu_s"] for run in runs) - min(run["cpu_s"] for run in runs)) / self.cpu_s
        self.differs = one.get("differs")


def of(job):
    """The figures of a job by engine and number of workers; for those without any, the reason."""
    found, reasons = {}, {}
    for key, one in job["engines"].items():
        engine, workers = key.rsplit(" ", 1)
        if one.get("runs") and "start" in one:
            found[engine, int(workers)] = Figure(job["counted"], one)
        else:
            reasons[engine, int(workers)] = one.get("reason", "not run")
    return found, reasons


def ratio(one, other):
    return one / other if one and other else None


def judged(value, least, digits=2):
    """What was measured, and whether it is enough; nothing where nobody knows."""
    return ("lost in the start", None) if value is None else (f"{value:.{digits}f}", value >= least)


def goals(figures):
    """Each goal, what was measured, and whether it is met."""
    rows = []
    for name, job in figures["jobs"].items():
        found, _ = of(job)
        query = jobs.BY_NAME[name].query
        ours, made, flink = (found.get((engine, 1)) for engine in ("millstream", "millstream-made", "flink-heap"))
        if query is not None and ours and flink:
            times = ratio(ours.million_per_cpu_s, flink.million_per_cpu_s)
            rows.append((f"q{query}: times Flink's heap", f"{TIMES_FLINK_MIN}", *judged(times, TIMES_FLINK_MIN, 1)))
        if query in EVENTS_MIN and made:
            least = EVENTS_MIN[query]
            rows.append((f"q{query}: million events a CPU second, made by itself", str(least), *judged(made.million_per_cpu_s, least)))
        if ours and ours.mib > MEMORY_MIB_MAX:
            rows.append((f"{name}: MiB", f"at most {MEMORY_MIB_MAX}", f"{ours.mib:.0f}", False))
        if name == "json_totals" and ours:
            whole = ours.million_per_cpu_s_whole
            rows.append(("json totals: million rows a CPU second, start included", str(JSON_ROWS_MIN), *judged(whole, JSON_ROWS_MIN)))
        if name == "word_count" and ours and (native := figures.get("native_words")):
            share = ours.million_per_cpu_s_whole / native
            rows.append((f"word count: share of a native loop's {native:.1f} million words a second, start included", str(NATIVE_SHARE_MIN), *judged(share, NATIVE_SHARE_MIN)))
        # Of files one thread reads all; what is made here is made by all workers.
        one, two = made, found.get(("millstream-made", 2))
        if one and two:
            times = ratio(two.million_per_s, one.million_per_s)
            rows.append((f"{jobs.BY_NAME[name].title}: two workers, times one", str(TWO_WORKERS_MIN), *judged(times, TWO_WORKERS_MIN)))
    return rows
