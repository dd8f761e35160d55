"""Millstream beside other engines: the same jobs over the same files, on this machine, in turn.

What it is told comes from the environment, as `make bench-rivals` passes it: RIVALS, JOBS, QUERIES, EVENTS, ROWS, WORDS_MB, REPEATS, WORKERS,
HEAP, SECONDS_MAX, OUT (directory for figures and inputs), PAGE (whose tables are rewritten; none by default) and PICTURE (the chart)."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import chart
import engines
import figures as measured
import inputs
import jobs
import kafka
import native
import report
import results

# What takes longer is run once.
SLOW_S = 30


@dataclass
class Run:
    """One run of one engine over one job."""

    sizes: inputs.Sizes
    input: Path
    scratch: Path
    workers: int
    results: Path = None
    topics: dict = field(default_factory=dict)

    @property
    def out(self):
        return self.scratch / "out"

    def told(self):
        """What a job needs to know, by name."""
        told = {"INPUT": str(self.input), "OUT": str(self.out), "SCRATCH": str(self.scratch), **self.topics}
        return told | ({"RESULTS": str(self.results)} if self.results else {})

    def words(self):
        return [f"{name}={value}" for name, value in self.told().items()]


def asked(name, default):
    return os.environ.get(name) or default


def chosen_jobs():
    names = asked("JOBS", "word_count json_totals sliding kafka nexmark").replace(",", " ").split()
    queries = asked("QUERIES", " ".join(map(str, jobs.NEXMARK))).replace(",", " ").split()
    wanted = [name for name in names if name != "nexmark"]
    wanted += [f"nexmark/q{query.removeprefix('q')}" for query in queries] if "nexmark" in names else []
    if unknown := [name for name in wanted if name not in jobs.BY_NAME]:
        sys.exit(f"there is no job {', '.join(unknown)}; there are {', '.join(jobs.BY_NAME)}")
    return [jobs.BY_NAME[name] for name in wanted]


class Bench:
    """All runs, and what they found."""

    def __init__(self):
        self.out = Path(asked("OUT", engines.ROOT / "target/rivals")).absolute()
        self.program = Path(asked("MILLSTREAM", engines.ROOT / "target/release/millstream")).absolute()
        self.full = inputs.Sizes(int(asked("EVENTS", 1_000_000)), int(asked("ROWS", 1_000_000)), int(asked("WORDS_MB", 50)))
        self.repeats, self.workers = int(asked("REPEATS", 3)), [int(n) for n in asked("WORKERS", "1").replace(",", " ").split()]
        self.seconds_max = int(asked("SECONDS_MAX", 120))
        self.out.mkdir(parents=True, exist_ok=True)
        rivals = asked("RIVALS", "flink spark bytewax").replace(",", " ").split()
        self.engines = engines.chosen(rivals, self.program, self.out, asked("HEAP", "2g"))
        self.jobs = chosen_jobs()
        self.figures, self.native_words = {}, None
        self.brokers = self.broker()

    def broker(self):
        """One of Kafka, where a job needs it; without one such jobs are left out."""
        if not any(job.name == "kafka" for job in self.jobs):
            return None
        try:
            return kafka.Broker(self.out)
        except (RuntimeError, subprocess.CalledProcessError) as wrong:
            print(f"kafka is left out: {wrong}", flush=True)
            self.jobs = [job for job in self.jobs if job.name != "kafka"]
            return None

    def once(self, engine, job, sizes, workers, check=False):
        """One run: its costs, or why it failed; with `check` what it has put out, too."""
        tables = ["side"] if job.query == 13 else []
        home = inputs.make(engines.ROOT, self.program, self.out / "inputs", sizes, [*job.reads, *tables])
        scratch = self.out / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        run = Run(sizes, home, scratch, workers)
        run.out.mkdir(parents=True)
        if check and job.query != 10 and job.name != "kafka":
            run.results = scratch / "results"
        if job.name == "kafka":
            run.topics = self.brokers.topics(home)
        log = self.out / "logs" / f"{engine.name}-{job.name.replace('/', '-')}-{workers}{'-check' if check else ''}.log"
        log.parent.mkdir(exist_ok=True)
        cost = engine.once(job, run, log, self.seconds_max)
        if check and "failed" not in cost:
            cost["rows"] = self.rows_of(engine, job, run)
        return cost

    def rows_of(self, engine, job, run):
        if job.name == "kafka":
            return results.together(job, self.brokers.rows(run.topics["OUT_TOPIC"]))
        if job.query == 10:
            return results.together(job, results.csv(run.out))
        if isinstance(engine, engines.Millstream):
            return results.together(job, results.written(run.results))
        return results.together(job, results.told(run.results) if run.results.exists() else [])

    def takers(self, job):
        """Who takes part in a job, with how many workers; of the others the reason."""
        found = {}
        for engine in self.engines:
            # With two as well, which takes little time, where nobody waits for one file to be read.
            both = isinstance(engine, engines.Millstream) and (engine.made or job.query is None)
            for workers in sorted({*self.workers, 1, 2} if both else self.workers):
                key = f"{engine.name} {workers}"
                if reason := engine.runs(job, workers):
                    found[key] = {"reason": reason}
                elif isinstance(engine, engines.Bytewax) and workers > 1:
                    found[key] = {"reason": "several workers would be several Pythons"}
                else:
                    found[key] = {"engine": engine, "workers": workers, "runs": []}
        return found

    def job(self, job):
        """All engines over a job, in turn."""
        found = self.takers(job)
        ours = None
        for key, one in found.items():
            if "engine" not in one:
                continue
            checked = self.once(one["engine"], job, inputs.SMALL, one["workers"], check=True)
            rows = checked.pop("rows", None)
            # Once more, now that an engine which stays knows the job.
            start = checked if "failed" in checked or not self.repeats else self.once(one["engine"], job, inputs.SMALL, one["workers"])
            if "failed" in start:
                one["reason"] = start["failed"]
            else:
                one["start"] = start
                ours = rows if ours is None else ours
                one["rows"] = rows.total()
                if job.by_clock:
                    one["differs"] = "not compared: by the clock"
                elif wrong := results.compare(ours, rows, last_may_lack=one["engine"].rival == "spark"):
                    one["differs"] = wrong
            say(key, job, start, one)
        for _ in range(self.repeats):
            for key, one in found.items():
                if "start" not in one or one.get("slow") or one["runs"] and one["engine"].once_only:
                    continue
                cost = self.once(one["engine"], job, self.full, one["workers"])
                if "failed" in cost:
                    one["reason"] = cost["failed"]
                    say(key, job, cost, one)
                    del one["start"]
                    continue
                one["runs"].append(cost)
                one["slow"] = cost["wall_s"] > SLOW_S
                say(key, job, cost, one)
        home = self.out / "inputs" / self.full.name
        counted = inputs.counted(home, job, self.full) if self.repeats else 0
        for one in found.values():
            one.pop("engine", None)
        self.figures[job.name] = {"counted": counted, "engines": found}

    def all(self):
        began = time.monotonic()
        try:
            for job in self.jobs:
                self.job(job)
                if job.name == "word_count" and self.repeats:
                    self.native_words = native.words(self.program, self.out / "logs/native.log")
                self.write(began)
        finally:
            for engine in self.engines:
                engine.stop()
            if self.brokers:
                self.brokers.stop()

    def write(self, began):
        figures = {
            "machine": measured.machine(),
            "versions": [engine.version for engine in self.engines if engine.name not in ("millstream-made", "flink-rocksdb")],
            "sizes": {"events": self.full.events, "rows": self.full.rows, "words_mb": self.full.words_mb},
            "repeats": self.repeats,
            "minutes": round((time.monotonic() - began) / 60, 1),
            "native_words": self.native_words,
            "jobs": self.figures,
        }
        (self.out / "figures.json").write_text(json.dumps(figures, indent=1))
        if page := os.environ.get("PAGE"):
            report.write(Path(page), figures)
        if picture := os.environ.get("PICTURE"):
            chart.write(Path(picture), figures)


def say(key, job, cost, one):
    if "failed" in cost:
        print(f"{job.name:12} {key:18} {cost['failed']}: {cost['log']}", flush=True)
        return
    wrong = f"  DIFFERS: {one['differs']}" if one.get("differs") else ""
    print(f"{job.name:12} {key:18} {cost['cpu_s']:7.2f} s of CPU {cost['wall_s']:7.2f} s {cost['rss_bytes'] >> 20:6} MiB{wrong}", flush=True)


if __name__ == "__main__":
    # So that what was started is stopped when this is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    bench = Bench()
    bench.all()
    differ = [
        f"{name}: {key}" for name, job in bench.figures.items() if not jobs.BY_NAME[name].by_clock
        for key, one in job["engines"].items() if one.get("differs")
    ]
    if differ:
        print("results differ: " + ", ".join(differ))
