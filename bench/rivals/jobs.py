"""The jobs: what each one computes, which engines cannot run it and why, and how results are compared."""

from dataclasses import dataclass

NEXMARK = {
    0: ("each bid", ["bid"]),
    1: ("prices in another currency", ["bid"]),
    2: ("bids for some auctions", ["bid"]),
    3: ("people in three states who sell in a category", ["auction", "person"]),
    4: ("winning prices by category", ["auction", "bid"]),
    5: ("auctions with the most bids in ten seconds, every two seconds", ["bid"]),
    6: ("mean winning price of each seller's last ten auctions", ["auction", "bid"]),
    7: ("highest bids in each ten seconds", ["bid"]),
    8: ("people who registered and sold within the same ten seconds", ["auction", "person"]),
    9: ("winning bid of each auction", ["auction", "bid"]),
    10: ("bids to directories by time", ["bid"]),
    11: ("bids of each session", ["bid"]),
    12: ("bids in ten seconds of processing time", ["bid"]),
    13: ("bids joined with a lookup table", ["bid"]),
    14: ("a user-defined function", ["bid"]),
    15: ("statistics of each day", ["bid"]),
    16: ("statistics by channel", ["bid"]),
    17: ("statistics by auction", ["bid"]),
    18: ("last bid of each bidder for each auction", ["bid"]),
    19: ("ten highest bids of each auction", ["bid"]),
    20: ("bids joined with the auctions of a category", ["auction", "bid"]),
    21: ("channels from URLs", ["bid"]),
    22: ("directories from URLs", ["bid"]),
}


@dataclass(frozen=True)
class Job:
    """A job. `unit`: what the rate counts. `key`: if not 0, only the last of the rows with the same first `key` values is compared.
    `by_clock`: the rows depend on the time of the run, and windows that are open at the end are not emitted, so rows are not compared."""

    name: str
    about: str
    reads: tuple
    unit: str
    key: int = 0
    by_clock: bool = False

    @property
    def query(self):
        """The number of the Nexmark query, or None."""
        return int(self.name.removeprefix("nexmark/q")) if self.name.startswith("nexmark/") else None

    @property
    def title(self):
        return f"q{self.query}" if self.query is not None else self.name.replace("_", " ")


def all_jobs():
    plain = [
        Job("word_count", "count of each word", ("words",), "words", key=1),
        Job("json_totals", "sum of each user's amounts", ("payments",), "rows", key=1),
        Job("sliding", "sums of the last minute by key, every ten seconds", ("readings",), "rows"),
        Job("kafka", "JSON from one topic to another, filtered", ("topic",), "rows"),
    ]
    # In q4, q6 and q15 to q17, an engine may emit every change of a key, or only the last one.
    keys = {4: 1, 6: 1, 15: 1, 16: 2, 17: 2}
    queries = [
        Job(f"nexmark/q{number}", about, tuple(reads), "events", keys.get(number, 0), number == 12)
        for number, (about, reads) in NEXMARK.items()
    ]
    return plain + queries


BY_NAME = {job.name: job for job in all_jobs()}

SPARK_CANNOT = {
    4: "aggregates after joins and aggregates need time windows",
    6: "no ROW_NUMBER over a stream",
    9: "no ROW_NUMBER over a stream",
    12: "all input is one batch, in which the clock does not advance",
    14: "skipped: user-defined functions need another language than SQL",
    15: "no count(distinct) over a stream",
    16: "no count(distinct) over a stream",
    18: "no ROW_NUMBER over a stream",
    19: "no ROW_NUMBER over a stream",
}


def reason_to_skip(engine, job):
    """The reason why an engine does not run a job, or None."""
    query = job.query
    if engine == "flink" and query == 6:
        return "Flink's SQL supports no OVER on changelogs"
    if engine == "spark" and query in SPARK_CANNOT:
        return SPARK_CANNOT[query]
    if engine == "bytewax" and query is not None and query > 2:
        return "no SQL; not implemented for Bytewax"
    if engine == "millstream-made" and query is None:
        return "only for Nexmark"
    return None


# Queries with enough state to compare state in RocksDB.
STATEFUL = [3, 4, 5, 7, 8, 9, 11, 15, 16, 17, 18, 19, 20]
