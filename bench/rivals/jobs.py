"""The jobs that are compared: what each is about, who cannot do it and why, and how its results are told apart."""

from dataclasses import dataclass

NEXMARK = {
    0: ("each bid", ["bid"]),
    1: ("prices in another currency", ["bid"]),
    2: ("bids for some auctions", ["bid"]),
    3: ("who in three states sells something of a category", ["auction", "person"]),
    4: ("what auctions of each category are won with", ["auction", "bid"]),
    5: ("the auctions with the most bids of ten seconds, every two", ["bid"]),
    6: ("the mean of the last ten auctions of each seller", ["auction", "bid"]),
    7: ("the highest bids of each ten seconds", ["bid"]),
    8: ("who came and sold within the same ten seconds", ["auction", "person"]),
    9: ("the bid that each auction is won with", ["auction", "bid"]),
    10: ("bids into folders by time", ["bid"]),
    11: ("bids of each visit", ["bid"]),
    12: ("bids in ten seconds by the machine's clock", ["bid"]),
    13: ("bids with a table from outside", ["bid"]),
    14: ("a function of one's own", ["bid"]),
    15: ("statistics of each day", ["bid"]),
    16: ("the same by channel", ["bid"]),
    17: ("the same by auction", ["bid"]),
    18: ("the last bid of each bidder for each auction", ["bid"]),
    19: ("the ten highest bids of each auction", ["bid"]),
    20: ("bids with the auctions of a category", ["auction", "bid"]),
    21: ("channels out of addresses", ["bid"]),
    22: ("folders out of addresses", ["bid"]),
}


@dataclass(frozen=True)
class Job:
    """`key`: of the rows that begin with the same so many values the last one counts. `unit`: what the rate counts. `by_clock`: the rows depend on
    when they are made, and windows that are open when the input ends are not put out, so nobody's are the same."""

    name: str
    about: str
    reads: tuple
    unit: str
    key: int = 0
    by_clock: bool = False

    @property
    def query(self):
        """The number of a query of Nexmark."""
        return int(self.name.removeprefix("nexmark/q")) if self.name.startswith("nexmark/") else None

    @property
    def title(self):
        return f"q{self.query}" if self.query is not None else self.name.replace("_", " ")


def all_jobs():
    plain = [
        Job("word_count", "how often each word came", ("words",), "words", key=1),
        Job("json_totals", "the sum of each user's amounts", ("payments",), "rows", key=1),
        Job("sliding", "sums of the last minute by key, every ten seconds", ("readings",), "rows"),
        Job("kafka", "JSON from one topic to another, filtered", ("topic",), "rows"),
    ]
    # Of q4, q6 and q15 to q17 an engine may put out every step of a key, or the last one alone.
    keys = {4: 1, 6: 1, 15: 1, 16: 2, 17: 2}
    queries = [
        Job(f"nexmark/q{number}", about, tuple(reads), "events", keys.get(number, 0), number == 12)
        for number, (about, reads) in NEXMARK.items()
    ]
    return plain + queries


BY_NAME = {job.name: job for job in all_jobs()}

SPARK_CANNOT = {
    4: "its aggregates behind joins and aggregates are of windows of time",
    6: "no ROW_NUMBER over a stream",
    9: "no ROW_NUMBER over a stream",
    12: "all is one batch, in which its clock stands still",
    14: "left out: its own functions are of another language than SQL",
    15: "no count(distinct) over a stream",
    16: "no count(distinct) over a stream",
    18: "no ROW_NUMBER over a stream",
    19: "no ROW_NUMBER over a stream",
}


def refused(engine, job):
    """Why an engine does not run a job, or None."""
    query = job.query
    if engine == "flink" and query == 6:
        return "Flink's SQL has no OVER of rows that change"
    if engine == "spark" and query in SPARK_CANNOT:
        return SPARK_CANNOT[query]
    if engine == "bytewax" and query is not None and query > 2:
        return "no SQL, and nobody wrote it"
    if engine == "millstream-made" and query is None:
        return "Nexmark alone"
    return None


# Queries whose state is worth a database.
STATEFUL = [3, 4, 5, 7, 8, 9, 11, 15, 16, 17, 18, 19, 20]
