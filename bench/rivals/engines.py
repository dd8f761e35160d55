"""The engines: how each one is downloaded, and how it runs a job."""

import os
import re
import subprocess
import sys
from pathlib import Path

import inputs
import jobs
import measure
import resident

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
# The modules that Flink's own scripts open on Java 17.
OPENS = ["java.base/java.lang", "java.base/java.util", "java.base/java.nio", "java.base/java.net", "java.base/sun.nio.ch", "java.base/java.time"]


def fetch(*command):
    """Runs a script that downloads packages if they are missing. Returns the directory that it prints."""
    return subprocess.run([ROOT / "scripts" / command[0], *command[1:]], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


class Engine:
    """An engine. `rival` is its name in RIVALS. If `once_only` is set, each job runs only once."""

    once_only = False

    def __init__(self, name, rival):
        self.name, self.rival = name, rival

    def reason_to_skip(self, job, _):
        """The reason why the engine does not run a job, or None."""
        return jobs.reason_to_skip(self.rival, job)

    def environment(self):
        return {}

    def stop(self):
        """Stops the processes that run between jobs."""

    def run_once(self, job, run, log, seconds_max):
        """Runs a job in a new process. Returns its costs, or the reason why it failed."""
        environment = os.environ | run.variables() | self.environment()
        return measure.run(self.command(job, run), log, environment, run.scratch, seconds_max)


class ResidentEngine(Engine):
    """An engine with one process for all jobs, because its startup takes longer than most jobs."""

    def __init__(self, name, rival):
        super().__init__(name, rival)
        self.residents = {}

    def run_once(self, job, run, log, seconds_max):
        if run.workers not in self.residents:
            env = os.environ | self.environment()
            log = log.with_name(f"{self.name}-{run.workers}.log")
            log.unlink(missing_ok=True)
            self.residents[run.workers] = resident.Resident(self.start(run.workers), log, env, log.parent)
        return self.residents[run.workers].run(self.line(job, run), seconds_max)

    def stop(self):
        for process in self.residents.values():
            process.stop()


class Millstream(Engine):
    """Millstream. It reads the same files as the other engines, or with `generated` the same events from its source `nexmark`."""

    def __init__(self, program, generated=False):
        super().__init__("millstream-made" if generated else "millstream", "millstream-made" if generated else "millstream")
        self.program, self.generated = program, generated
        version = subprocess.run([program, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
        self.version = f"Millstream {version[1]} ({version[3][:8]})"

    def command(self, job, run):
        path = run.scratch / "job.toml"
        path.write_text(self.text(job, run))
        command = [self.program, "run", path, "--no-ui", "--quiet", "--workers", str(run.workers)]
        # A topic has no end, so the job stops when it is idle. The other inputs end.
        return command + (["--until-idle"] if job.name == "kafka" else [])

    def text(self, job, run):
        """The job file: the example's, with the sources and the sink replaced."""
        if job.query is None:
            text = (HERE / f"millstream/{job.name}.toml").read_text()
        else:
            text = (ROOT / f"docs/examples/nexmark/q{job.query}.toml").read_text()
            text = text.replace('"../../../plugins', f'"{ROOT}/plugins').replace(
                '"side-input.csv"', f'"{ROOT}/docs/examples/nexmark/side-input.csv"')
            text = text.replace("events_max = 1000000", f"events_max = {run.sizes.events}\nevents_per_second = {run.sizes.events_per_second}")
            if not self.generated:
                text = re.sub(r'kind = "nexmark"\nevent = "(\w+)"\nevents_max = \d+\nevents_per_second = \d+', file_source, text)
            if run.sizes.events_per_second < inputs.EVENTS_PER_SECOND:
                # With fewer events/s, auctions are open for longer.
                text = text.replace('["0s", "10s"]', '["0s", "1h"]')
        text = os.path.expandvars(text.replace("${ROOT}", str(ROOT)).replace("${INPUT}", str(run.input)))
        for name, value in run.topics.items():
            text = text.replace("${" + name + "}", value)
        head, sink = text.split("[sinks.out]")
        if job.name == "kafka":
            return text
        if job.query == 10:
            sink = f'\nfrom = "q"\nkind = "files"\npath = "{run.out}"\nformat = "csv"\npartition_by = ["dt", "hm"]\nroll = {{ size = "64MiB", time = "1m" }}\n'
        elif run.results:
            sink = f'\nfrom = "q"\nkind = "files"\npath = "{run.results}"\nformat = "json"\nchanges = "rows"\n'
        else:
            sink = '\nfrom = "q"\nkind = "nothing"\n'
        return f"{head}[sinks.out]{sink}"


SCHEMAS = {
    "person": 'id = "int64", name = "text", email_address = "text", credit_card = "text", city = "text", state = "text", date_time = "timestamp", '
    'extra = "text"',
    "auction": 'id = "int64", item_name = "text", description = "text", initial_bid = "int64", reserve = "int64", date_time = "timestamp", '
    'expires = "timestamp", seller = "int64", category = "int64", extra = "text"',
    "bid": 'auction = "int64", bidder = "int64", price = "int64", channel = "text", url = "text", date_time = "timestamp", extra = "text"',
}


def file_source(match):
    """The settings of a source that reads the file of an event. They replace those of a `nexmark` source."""
    event = match.group(1)
    return f'kind = "file"\npath = "${{INPUT}}/{event}/all.jsonl"\nformat = "json"\nschema = {{ {SCHEMAS[event]} }}'


class Flink(ResidentEngine):
    """Flink in one Java process, with its state on the heap or in RocksDB."""

    def __init__(self, state, work, heap):
        super().__init__("flink-heap" if state == "hashmap" else "flink-rocksdb", "flink")
        self.state, self.heap, self.once_only = state, heap, state == "rocksdb"
        jars = fetch("flink-jars.sh")
        self.version = "Flink " + next(Path(jars).glob("flink-core-[0-9]*.jar")).stem.removeprefix("flink-core-")
        classes = work / "flink-classes"
        classes.mkdir(parents=True, exist_ok=True)
        subprocess.run(["javac", "-cp", f"{jars}/*", "-d", classes, *(HERE / "flink").glob("*.java")], check=True)
        self.path = f"{classes}:{jars}/*"

    def reason_to_skip(self, job, _):
        if self.state == "rocksdb" and (job.query not in jobs.STATEFUL and job.name not in ("word_count", "json_totals")):
            return "little or no state"
        return super().reason_to_skip(job, _)

    def start(self, _):
        opens = [option for module in OPENS for option in ("--add-opens", f"{module}=ALL-UNNAMED")]
        return ["java", f"-Xmx{self.heap}", *opens, "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", self.path, "Run"]

    def line(self, job, run):
        files = [HERE / f"flink/{job.name}.sql"]
        if job.query is not None:
            files.insert(0, HERE / "flink/nexmark/tables.sql")
        program = "WordCount" if job.name == "word_count" else ",".join(map(str, files))
        return "\t".join([str(run.workers), self.state, str(run.results or "-"), program, *run.assignments()])


class Spark(ResidentEngine):
    """Spark Structured Streaming in one Java process, with the trigger availableNow."""

    def __init__(self, work, heap):
        super().__init__("spark", "spark")
        self.work = work
        self.home, self.heap = Path(fetch("pypi.sh", "pyspark")), heap
        self.version = "Spark " + next(self.home.glob("pyspark-*.dist-info")).name.split("-")[1].removesuffix(".dist")

    def start(self, workers):
        return [sys.executable, HERE / "spark/run.py", workers]

    def line(self, job, run):
        return "\t".join([job.name, *run.assignments()])

    def environment(self):
        # Only these jars of the connector: Spark has newer versions of the others.
        jars = Path(fetch("spark-kafka.sh"))
        connector_jars = [str(jar) for jar in jars.glob("*.jar") if re.match("spark-(sql|token)|kafka|commons-pool", jar.name)]
        return {
            "PYTHONPATH": str(self.home),
            "SPARK_HOME": str(self.home / "pyspark"),
            "PYSPARK_SUBMIT_ARGS": f"--driver-memory {self.heap} --jars {','.join(connector_jars)} pyspark-shell",
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_DIRS": str(self.work / "spark"),
            "PYSPARK_PYTHON": sys.executable,
            "PYSPARK_DRIVER_PYTHON": sys.executable,
        }


class Bytewax(Engine):
    """Bytewax in one Python process."""

    def __init__(self):
        super().__init__("bytewax", "bytewax")
        self.home = fetch("pypi.sh", "bytewax")
        self.version = "Bytewax " + next(Path(self.home).glob("bytewax-*.dist-info")).name.split("-")[1].removesuffix(".dist")

    def command(self, job, _):
        return [sys.executable, HERE / "bytewax/flows.py", job.name]

    def environment(self):
        return {"PYTHONPATH": self.home}


def create(names, program, work, heap):
    """Millstream and the rivals with these names, downloaded if missing. The name `flink` selects both kinds of state."""
    makers = {
        "flink-heap": lambda: Flink("hashmap", work, heap),
        "flink-rocksdb": lambda: Flink("rocksdb", work, heap),
        "spark": lambda: Spark(work, heap),
        "bytewax": Bytewax,
    }
    rivals = [name for name in makers if name in names or name.split("-")[0] in names]
    if unknown := set(names) - {"none"} - {part for name in makers for part in (name, name.split("-")[0])}:
        sys.exit(f"unknown engine {', '.join(sorted(unknown))}; write flink, {', '.join(makers)} or none")
    engines = [Millstream(program), Millstream(program, generated=True)]
    for name in rivals:
        try:
            engines.append(makers[name]())
        except subprocess.CalledProcessError as error:
            print(f"skipping {name}: {error}", flush=True)
    return engines
