"""What the engines read: made once for each size, the same files for all of them."""

import json
import subprocess

EVENTS_PER_SECOND = 10_000


class Sizes:
    """How much there is to read."""

    def __init__(self, events, rows, words_mb, events_per_second=EVENTS_PER_SECOND):
        self.events, self.rows, self.words_mb, self.events_per_second = events, rows, words_mb, events_per_second

    @property
    def name(self):
        return f"{self.events}-{self.rows}-{self.words_mb}"


# The run that start-up is measured with, and whose results are compared: enough for windows to end and too little to take time.
SMALL = Sizes(2_000, 2_000, 0, 20)

TIME = "to_char({}, '%Y-%m-%d %H:%M:%S%.3f') as {}"
COLUMNS = {
    "person": "id, name, email_address, credit_card, city, state, " + TIME.format("date_time", "date_time") + ", extra",
    "auction": "id, item_name, description, initial_bid, reserve, "
    + TIME.format("date_time", "date_time") + ", " + TIME.format("expires", "expires") + ", seller, category, extra",
    "bid": "auction, bidder, price, channel, url, " + TIME.format("date_time", "date_time") + ", extra",
}


def make(root, millstream, folder, sizes, tables):
    """The tables that are not there yet, each a folder with one file. Gives what each counts."""
    home = folder / sizes.name
    home.mkdir(parents=True, exist_ok=True)
    for table in tables:
        place = home / table
        if not place.exists():
            part = home / f"{table}.part"
            part.mkdir(exist_ok=True)
            MAKERS[table](part, sizes, root, millstream)
            part.rename(place)
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
    """About twenty minutes of time, or more, of a hundred keys."""
    rows_per_second = max(1, sizes.rows // 1_200)
    with open(part / "all.jsonl", "w") as out:
        for row in range(sizes.rows):
            ms = row * 1_000 // rows_per_second
            seconds = ms // 1_000
            day, rest = divmod(seconds, 86_400)
            time = f"2015-07-{15 + day} {rest // 3_600:02}:{rest // 60 % 60:02}:{rest % 60:02}.{ms % 1_000:03}"
            out.write(f'{{"ts":"{time}","k":"key-{row * 7_919 % 100}","v":{row % 1_000}}}\n')


def side(part, _, root, __):
    """The table from outside, of query 13."""
    lines = (root / "docs/examples/nexmark/side-input.csv").read_text().splitlines()[1:]
    with open(part / "all.jsonl", "w") as out:
        for line in lines:
            key, value = line.split(",")
            out.write(json.dumps({"key": int(key), "value": value}) + "\n")


def nexmark(event):
    def maker(part, sizes, _, millstream):
        job = f"""
batch = "100ms"
[sources.made]
kind = "nexmark"
event = "{event}"
events_max = {sizes.events}
events_per_second = {sizes.events_per_second}
[stages.told]
from = "made"
select = "{COLUMNS[event]}"
[sinks.out]
from = "told"
kind = "files"
format = "json"
path = "rows"
"""
        (part / "job.toml").write_text(job)
        subprocess.run([millstream, "run", part / "job.toml", "--no-ui", "--workers", "1"], check=True, capture_output=True)
        # One file, in order: files of a folder are read in an order that engines choose.
        with open(part / "all.jsonl", "wb") as out:
            for file in sorted((part / "rows").iterdir()):
                if file.suffix == ".jsonl":
                    out.write(file.read_bytes())
                file.unlink() if file.is_file() else None
        for rest in sorted((part / "rows").rglob("*"), reverse=True):
            rest.unlink() if rest.is_file() else rest.rmdir()
        (part / "rows").rmdir()
        (part / "job.toml").unlink()

    return maker


MAKERS = {"words": words, "payments": payments, "readings": readings, "side": side, "topic": payments}
MAKERS |= {event: nexmark(event) for event in COLUMNS}


def counted(home, job, sizes):
    """What the rate of a job counts: words, rows, or events of all kinds, as those of Nexmark are counted."""
    if job.unit == "events":
        return sizes.events
    if job.unit == "rows":
        return sizes.rows
    return len((home / "words/all.txt").read_bytes().split())
