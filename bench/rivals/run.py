"""Compares Millstream with other engines: runs the same jobs on the same files, on this machine, in turn.

Reads its parameters from the environment, as `make bench-rivals` sets them: RIVALS, JOBS, QUERIES, EVENTS, ROWS, WORDS_MB, REPEATS, WORKERS,
HEAP, SECONDS_MAX, OUT (directory for figures and inputs), PAGE (the page whose tables are rewritten; none by default) and PICTURE (the chart;
none by default).
"""

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

# A run that takes longer is not repeated.
SLOW_S = 30


@dataclass
class Run:
    """One run of a job in an engine."""

    sizes: inputs.Sizes
    input: Path
    scratch: Path
    workers: int
    results: Path = None
    topics: dict = field(default_factory=dict)

    @property
    def out(self):
        return self.scratch / "out"

    def variables(self):
        """The parameters of the job by name."""
        variables = {"INPUT": str(self.input), "OUT": str(self.out), "SCRATCH": str(self.scratch), **self.topics}
        return variables | ({"RESULTS": str(self.results)} if self.results else {})

    def assignments(self):
        return [f"{name}={value}" for name, value in self.variables().items()]


def parameter(name, default):
    return os.environ.get(name) or default


def chosen_jobs():
    names = parameter("JOBS", "word_count json_totals sliding kafka nexmark").replace(",", " ").split()
    queries = parameter("QUERIES", " ".join(map(str, jobs.NEXMARK))).replace(",", " ").split()
    wanted = [name for name in names if name != "nexmark"]
    wanted += [f"nexmark/q{query.removeprefix('q')}" for query in queries] if "nexmark" in names else []
    if unknown := [name for name in wanted if name not in jobs.BY_NAME]:
        sys.exit(f"unknown job {', '.join(unknown)}; write some of {', '.join(jobs.BY_NAME)}")
    return [jobs.BY_NAME[name] for name in wanted]


class Bench:
    """All runs and their results."""

    def __init__(self):
        self.out = Path(parameter("OUT", engines.ROOT / "target/rivals")).absolute()
        self.program = Path(parameter("MILLSTREAM", engines.ROOT / "target/release/millstream")).absolute()
        self.full = inputs.Sizes(int(parameter("EVENTS", 1_000_000)), int(parameter("ROWS", 1_000_000)), int(parameter("WORDS_MB", 50)))
        self.repeats, self.workers = int(parameter("REPEATS", 3)), [int(n) for n in parameter("WORKERS", "1").replace(",", " ").split()]
        self.seconds_max = int(parameter("SECONDS_MAX", 120))
        self.out.mkdir(parents=True, exist_ok=True)
        rivals = parameter("RIVALS", "flink spark bytewax").replace(",", " ").split()
        self.engines = engines.create(rivals, self.program, self.out, parameter("HEAP", "2g"))
        self.jobs = chosen_jobs()
        self.figures, self.native_words = {}, None
        self.brokers = self.broker()

    def broker(self):
        """Starts a Kafka broker if a job needs it. If that fails, skips the job."""
        if not any(job.name == "kafka" for job in self.jobs):
            return None
        try:
            return kafka.Broker(self.out)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            print(f"skipping kafka: {error}", flush=True)
            self.jobs = [job for job in self.jobs if job.name != "kafka"]
            return None

    def run_once(self, engine, job, sizes, workers, check=False):
        """Runs a job once. Returns its costs, or the reason why it failed; with `check`, also its output rows."""
        tables = ["side"] if job.query == 13 else []
        home = inputs.create(engines.ROOT, self.program, self.out / "inputs", sizes, [*job.reads, *tables])
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
        cost = engine.run_once(job, run, log, self.seconds_max)
        if check and "failed" not in cost:
            cost["rows"] = self.rows_of(engine, job, run)
        return cost

    def rows_of(self, engine, job, run):
        if job.name == "kafka":
            return results.apply_changes(job, self.brokers.rows(run.topics["OUT_TOPIC"]))
        if job.query == 10:
            return results.apply_changes(job, results.read_csv(run.out))
        if isinstance(engine, engines.Millstream):
            return results.apply_changes(job, results.read_json(run.results))
        return results.apply_changes(job, results.read_changes(run.results) if run.results.exists() else [])

    def participants(self, job):
        """A record for each engine and number of workers: the engine, or the reason why it does not run the job."""
        found = {}
        for engine in self.engines:
            # Millstream also runs with two workers, unless one thread reads the file of a Nexmark query.
            both = isinstance(engine, engines.Millstream) and (engine.generated or job.query is None)
            for workers in sorted({*self.workers, 1, 2} if both else self.workers):
                key = f"{engine.name} {workers}"
                if reason := engine.reason_to_skip(job, workers):
                    found[key] = {"reason": reason}
                elif isinstance(engine, engines.Bytewax) and workers > 1:
                    found[key] = {"reason": "several workers need several Python processes"}
                else:
                    found[key] = {"engine": engine, "workers": workers, "runs": []}
        return found

    def job(self, job):
        """Runs a job in all engines, in turn."""
        found = self.participants(job)
        ours = None
        for key, record in found.items():
            if "engine" not in record:
                continue
            checked = self.run_once(record["engine"], job, inputs.SMALL, record["workers"], check=True)
            rows = checked.pop("rows", None)
            # Measures the startup with a second run: a resident engine has then already compiled the job.
            start = checked if "failed" in checked or not self.repeats else self.run_once(record["engine"], job, inputs.SMALL, record["workers"])
            if "failed" in start:
                record["reason"] = start["failed"]
            else:
                record["start"] = start
                ours = rows if ours is None else ours
                record["rows"] = rows.total()
                if job.by_clock:
                    record["differs"] = "not compared: by the clock"
                elif difference := results.compare(ours, rows, last_may_lack=record["engine"].rival == "spark"):
                    record["differs"] = difference
            print_cost(key, job, start, record)
        for _ in range(self.repeats):
            for key, record in found.items():
                if "start" not in record or record.get("slow") or record["runs"] and record["engine"].once_only:
                    continue
                cost = self.run_once(record["engine"], job, self.full, record["workers"])
                if "failed" in cost:
                    record["reason"] = cost["failed"]
                    print_cost(key, job, cost, record)
                    del record["start"]
                    continue
                record["runs"].append(cost)
                record["slow"] = cost["wall_s"] > SLOW_S
                print_cost(key, job, cost, record)
        home = self.out / "inputs" / self.full.name
        counted = inputs.count(home, job, self.full) if self.repeats else 0
        for record in found.values():
            record.pop("engine", None)
        self.figures[job.name] = {"counted": counted, "engines": found}

    def all(self):
        start = time.monotonic()
        try:
            for job in self.jobs:
                self.job(job)
                if job.name == "word_count" and self.repeats:
                    self.native_words = native.words(self.program, self.out / "logs/native.log")
                self.write(start)
        finally:
            for engine in self.engines:
                engine.stop()
            if self.brokers:
                self.brokers.stop()

    def write(self, start):
        figures = {
            "machine": measured.machine(),
            "versions": [engine.version for engine in self.engines if engine.name not in ("millstream-made", "flink-rocksdb")],
            "sizes": {"events": self.full.events, "rows": self.full.rows, "words_mb": self.full.words_mb},
            "repeats": self.repeats,
            "minutes": round((time.monotonic() - start) / 60, 1),
            "native_words": self.native_words,
            "jobs": self.figures,
        }
        (self.out / "figures.json").write_text(json.dumps(figures, indent=1))
        if page := os.environ.get("PAGE"):
            report.write(Path(page), figures)
        if picture := os.environ.get("PICTURE"):
            chart.write(Path(picture), figures)


def print_cost(key, job, cost, record):
    if "failed" in cost:
        print(f"{job.name:12} {key:18} {cost['failed']}: {cost['log']}", flush=True)
        return
    difference = f"  DIFFERS: {record['differs']}" if record.get("differs") else ""
    print(f"{job.name:12} {key:18} {cost['cpu_s']:7.2f} s CPU {cost['wall_s']:7.2f} s {cost['rss_bytes'] >> 20:6} MiB{difference}", flush=True)


if __name__ == "__main__":
    # On SIGTERM, exit with an exception, so that started processes are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    bench = Bench()
    bench.all()
    differ = [
        f"{name}: {key}" for name, job in bench.figures.items() if not jobs.BY_NAME[name].by_clock
        for key, record in job["engines"].items() if record.get("differs")
    ]
    if differ:
        print("results differ: " + ", ".join(differ))
