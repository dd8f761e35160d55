"""The input files, created once per size. All engines read the same files."""

import json
import subprocess

EVENTS_PER_SECOND = 10_000


class Sizes:
    """The sizes of the inputs."""

    def __init__(self, events, rows, words_mb, events_per_second=EVENTS_PER_SECOND):
        self.events, self.rows, self.words_mb, self.events_per_second = events, rows, words_mb, events_per_second

    @property
    def name(self):
        return f"{self.events}-{self.rows}-{self.words_mb}"


# The size of the runs that measure the startup and compare the results: windows end, but the rows take almost no time.
SMALL = Sizes(2_000, 2_000, 0, 20)

TIME = "to_char({}, '%Y-%m-%d %H:%M:%S%.3f') as {}"
COLUMNS = {
    "person": "id, name, email_address, credit_card, city, state, " + TIME.format("date_time", "date_time") + ", extra",
    "auction": "id, item_name, description, initial_bid, reserve, "
    + TIME.format("date_time", "date_time") + ", " + TIME.format("expires", "expires") + ", seller, category, extra",
    "bid": "auction, bidder, price, channel, url, " + TIME.format("date_time", "date_time") + ", extra",
}


def create(root, millstream, directory, sizes, tables):
    """Creates the missing tables, each a directory with one file. Returns the directory of the tables."""
    home = directory / sizes.name
    home.mkdir(parents=True, exist_ok=True)
    for table in tables:
        path = home / table
        if not path.exists():
            part = home / f"{table}.part"
            part.mkdir(exist_ok=True)
            CREATORS[table](part, sizes, root, millstream)
            part.rename(path)
    return home


def words(part, sizes, root, _):
    text = (root / "demo/text.txt").read_bytes()
    with open(part / "all.txt", "wb") as out:
        for _ in range(max(1, sizes.words_mb * 1_000_000 // len(text))):
            out.write(text)


def payments(part, sizes, *_):
    with open(part / "all.jsonl", "w") as out:
        for row in range(sizes.rows):
            out.write(f'{{"user":"user-{row * 7_919 % 99_991:06}","amount":{row % 89 + 10}}}\n')


def readings(part, sizes, *_):
    """Rows of a hundred keys, over at least about twenty minutes of event time."""
    rows_per_second = max(1, sizes.rows // 1_200)
    with open(part / "all.jsonl", "w") as out:
        for row in range(sizes.rows):
            ms = row * 1_000 // rows_per_second
            seconds = ms // 1_000
            day, rest = divmod(seconds, 86_400)
            time = f"2015-07-{15 + day} {rest // 3_600:02}:{rest // 60 % 60:02}:{rest % 60:02}.{ms % 1_000:03}"
            out.write(f'{{"ts":"{time}","k":"key-{row * 7_919 % 100}","v":{row % 1_000}}}\n')


def side(part, _, root, __):
    """The lookup table of query 13."""
    lines = (root / "docs/examples/nexmark/side-input.csv").read_text().splitlines()[1:]
    with open(part / "all.jsonl", "w") as out:
        for line in lines:
            key, value = line.split(",")
            out.write(json.dumps({"key": int(key), "value": value}) + "\n")


def nexmark(event):
    def create(part, sizes, _, millstream):
        job = f"""
batch = "100ms"
[sources.events]
kind = "nexmark"
event = "{event}"
events_max = {sizes.events}
events_per_second = {sizes.events_per_second}
[stages.formatted]
from = "events"
select = "{COLUMNS[event]}"
[sinks.out]
from = "formatted"
kind = "files"
format = "json"
path = "rows"
"""
        (part / "job.toml").write_text(job)
        subprocess.run([millstream, "run", part / "job.toml", "--no-ui", "--workers", "1"], check=True, capture_output=True)
        # One file with all rows in order, because engines read several files in different orders.
        with open(part / "all.jsonl", "wb") as out:
            for file in sorted((part / "rows").iterdir()):
                if file.suffix == ".jsonl":
                    out.write(file.read_bytes())
                file.unlink() if file.is_file() else None
        for rest in sorted((part / "rows").rglob("*"), reverse=True):
            rest.unlink() if rest.is_file() else rest.rmdir()
        (part / "rows").rmdir()
        (part / "job.toml").unlink()

    return create


CREATORS = {"words": words, "payments": payments, "readings": readings, "side": side, "topic": payments}
CREATORS |= {event: nexmark(event) for event in COLUMNS}


def count(home, job, sizes):
    """The number of words, rows or events that the rate of a job counts. For Nexmark, events of all kinds count."""
    if job.unit == "events":
        return sizes.events
    if job.unit == "rows":
        return sizes.rows
    return len((home / "words/all.txt").read_bytes().split())
