"""Summarizes the runs: medians, rates without the startup, and the goals."""

import os
import platform
from statistics import median

import jobs

# Rates use the time of a run minus the startup time. If the difference is less than this share of the startup time, there is no rate:
# startup times of an engine vary by more. More events would give a rate.
NET_TIME_SHARE_MIN = 0.25
NAMES = {
    "millstream": "Millstream",
    "millstream-made": "Millstream, generated events",
    "flink-heap": "Flink, heap",
    "flink-rocksdb": "Flink, RocksDB",
    "spark": "Spark",
    "bytewax": "Bytewax",
}
MEMORY_MIB_MAX = 1024
# The goal for each query, in million events per CPU second.
EVENTS_MIN = {0: 3, 1: 3, 2: 3, 8: 1.5, 11: 1.5, 5: 1, 7: 1}
TIMES_FLINK_MIN = 5
JSON_ROWS_MIN = 6
TWO_WORKERS_MIN = 1.8
NATIVE_SHARE_MIN = 0.75


def machine():
    """Describes the processor, the memory and the system."""
    with open("/proc/cpuinfo") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    model = models[0] if models else platform.machine()
    return f"{len(models) or os.cpu_count()} × {model}, {gib:.0f} GiB, Linux {platform.release()}"


def rate(count, total_s, start_s):
    """Millions per second without the startup, or None if the startup dominates."""
    net_s = total_s - start_s
    return count / net_s / 1e6 if net_s > NET_TIME_SHARE_MIN * start_s else None


class Figure:
    """The results of one engine in one job: medians over its runs."""

    def __init__(self, count, record):
        runs = record["runs"]
        self.cpu_s, self.wall_s = median(run["cpu_s"] for run in runs), median(run["wall_s"] for run in runs)
        self.start_s = record["start"]["cpu_s"]
        self.mib = max(run["rss_bytes"] for run in runs) / (1 << 20)
        self.million_per_cpu_s = rate(count, self.cpu_s, self.start_s)
        # Including the startup of the process.
        self.million_per_cpu_s_with_start = count / self.cpu_s / 1e6
        self.million_per_s = rate(count, self.wall_s, record["start"]["wall_s"])
        self.spread = (max(run["cpu_s"] for run in runs) - min(run["cpu_s"] for run in runs)) / self.cpu_s
        self.differs = record.get("differs")


def figures_of(job):
    """The figures of a job by engine and number of workers, and the reasons for missing figures."""
    found, reasons = {}, {}
    for key, record in job["engines"].items():
        engine, workers = key.rsplit(" ", 1)
        if record.get("runs") and "start" in record:
            found[engine, int(workers)] = Figure(job["counted"], record)
        else:
            reasons[engine, int(workers)] = record.get("reason", "not run")
    return found, reasons


def ratio(one, other):
    return one / other if one and other else None


def judged(value, least, digits=2):
    """The measured value as text, and whether it meets the goal; None if there is no value."""
    return ("startup dominates", None) if value is None else (f"{value:.{digits}f}", value >= least)


def goals(figures):
    """Each goal, what was measured, and whether it is met."""
    rows = []
    for name, job in figures["jobs"].items():
        found, _ = figures_of(job)
        query = jobs.BY_NAME[name].query
        ours, generated, flink = (found.get((engine, 1)) for engine in ("millstream", "millstream-made", "flink-heap"))
        if query is not None and ours and flink:
            times = ratio(ours.million_per_cpu_s, flink.million_per_cpu_s)
            rows.append((f"q{query}: speed relative to Flink on the heap", f"{TIMES_FLINK_MIN}", *judged(times, TIMES_FLINK_MIN, 1)))
        if query in EVENTS_MIN and generated:
            least = EVENTS_MIN[query]
            rows.append((f"q{query}: million generated events per CPU second", str(least), *judged(generated.million_per_cpu_s, least)))
        if ours and ours.mib > MEMORY_MIB_MAX:
            rows.append((f"{name}: MiB", f"at most {MEMORY_MIB_MAX}", f"{ours.mib:.0f}", False))
        if name == "json_totals" and ours:
            value = ours.million_per_cpu_s_with_start
            rows.append(("json totals: million rows per CPU second, including startup", str(JSON_ROWS_MIN), *judged(value, JSON_ROWS_MIN)))
        if name == "word_count" and ours and (native := figures.get("native_words")):
            share = ours.million_per_cpu_s_with_start / native
            rows.append((f"word count: share of a native loop's {native:.1f} million words/s, including startup", str(NATIVE_SHARE_MIN), *judged(share, NATIVE_SHARE_MIN)))
        # Only with generated events: all workers generate them, but one thread reads a file.
        one, two = generated, found.get(("millstream-made", 2))
        if one and two:
            times = ratio(two.million_per_s, one.million_per_s)
            rows.append((f"{jobs.BY_NAME[name].title}: speed of two workers relative to one", str(TWO_WORKERS_MIN), *judged(times, TWO_WORKERS_MIN)))
    return rows
