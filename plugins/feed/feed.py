"""Follows feeds of RSS and Atom."""

import hashlib
import json
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from xml.etree import ElementTree

from millstream import Arrivals, ConfigError, Polled, Timestamp, http, log, source

ENTRIES_MAX = 450
"""Entries of a feed that are told apart. Their digests are the position, of which a host keeps 4 KiB."""
DIGEST_BYTES = 8
VALIDATOR_BYTES_MAX = 200
"""A longer `ETag` is not sent back."""
REFUSED_BYTES_MAX = 1000


@dataclass
class Entry:
    """A row."""

    feed: str
    id: str
    title: str | None
    link: str | None
    published: Timestamp | None
    summary: str | None


@dataclass
class Config:
    """The source's `config`."""

    urls: list[str]
    every_seconds: float = 300.0
    timeout_seconds: float = 20.0

    def __post_init__(self) -> None:
        if not self.urls:
            raise ValueError("`urls` is empty")
        for url in self.urls:
            if not url.startswith(("http://", "https://")) or len(url.encode()) > 256:
                raise ValueError(f"`{url:.300}` is not an HTTP or HTTPS URL of at most 256 bytes")
        if not 0 < self.every_seconds <= 86400 or not 0 < self.timeout_seconds <= 600:
            raise ValueError("`every_seconds` is up to a day, `timeout_seconds` up to ten minutes")


@dataclass
class Place:
    """How far a feed was read: which entries were there, what tells the server so, and what was no feed."""

    validators: dict[str, str]
    bad: str
    seen: list[bytes]

    @classmethod
    def read(cls, position: bytes | None) -> "Place":
        if position is None:
            return cls({}, "", [])
        head, _, digests = position.partition(b"\n")
        told = json.loads(head)
        count = len(digests) // DIGEST_BYTES
        return cls(told["validators"], told["bad"], [digests[i * DIGEST_BYTES :][:DIGEST_BYTES] for i in range(count)])

    def written(self) -> bytes:
        head = json.dumps({"validators": self.validators, "bad": self.bad}, separators=(",", ":"))
        return head.encode() + b"\n" + b"".join(self.seen)


@source
class Feed:
    """Follows feeds of RSS and Atom: each entry is a row, once."""

    @staticmethod
    def check(config: Config) -> None:
        if len(set(config.urls)) < len(config.urls):
            raise ConfigError("`urls` has one twice")

    @staticmethod
    def partitions(config: Config) -> list[str]:
        return config.urls

    def open(self, config: Config, partition: str, position: bytes | None) -> None:
        self.url, self.config = partition, config
        self.place = Place.read(position)
        self.waiting: list[tuple[bytes, Entry]] = []
        self.then: Place | None = None
        self.next_s = 0.0

    def poll(self, rows: Arrivals[Entry], wait_ms: int) -> Polled:
        now = time.time()
        if not self.waiting and self.then is None:
            # The host asks sooner while it waits for something else.
            if now < self.next_s:
                return Polled.pause(int((self.next_s - now) * 1000) + 1)
            self.next_s = now + self.config.every_seconds
            self.ask(rows)
        while self.waiting and rows.left:
            digest, entry = self.waiting.pop()
            rows.push(entry)
            self.place.seen.insert(0, digest)
        del self.place.seen[ENTRIES_MAX:]
        if not self.waiting and self.then is not None:
            # Only now may the server be told that all of it was read.
            self.place, self.then = self.then, None
        if self.waiting:
            return Polled.ready(self.place.written())
        return Polled.pause(max(int((self.next_s - now) * 1000), 1), self.place.written())

    def ask(self, rows: Arrivals[Entry]) -> None:
        """Asks for the feed, and finds the entries that are new."""
        headers = {"Accept": "application/atom+xml, application/rss+xml, application/xml;q=0.9", "User-Agent": "millstream-feed"}
        answer = http.get(self.url, headers | self.place.validators, int(self.config.timeout_seconds * 1000))
        if answer.status == 304:
            return
        if answer.status != 200:
            again_s = max(self.config.every_seconds, retry_after(answer.headers))
            self.next_s += again_s - self.config.every_seconds
            log.warn(f"{self.url} answered {answer.status}; it is asked again in {again_s:g} s")
            return
        digest = hashlib.sha256(answer.body).hexdigest()[:16]
        try:
            entries = read(answer.body, self.url)
        except (ElementTree.ParseError, ValueError) as error:
            if digest != self.place.bad:
                rows.refuse(answer.body[:REFUSED_BYTES_MAX], f"{self.url} is not a feed: {error}")
            self.then = Place({}, digest, self.place.seen)
            return
        if len(entries) > ENTRIES_MAX:
            log.warn(f"{self.url} has {len(entries)} entries; the first {ENTRIES_MAX} are read")
            del entries[ENTRIES_MAX:]
        known = set(self.place.seen)
        digests = {digest_of(entry): entry for entry in reversed(entries)}
        # The oldest stand last, and are taken from the end.
        self.waiting = [(own, entry) for own, entry in reversed(digests.items()) if own not in known]
        there = [*reversed(digests)]
        # An entry that is gone may come back.
        seen = there + [own for own in self.place.seen if own not in digests]
        self.then = Place(validators_of(answer.headers), "", seen[:ENTRIES_MAX])


def digest_of(entry: Entry) -> bytes:
    return hashlib.sha256(entry.id.encode()).digest()[:DIGEST_BYTES]


def validators_of(headers: dict[str, str]) -> dict[str, str]:
    """What the next request says, so that the server need not send the same again."""
    found = {"If-None-Match": headers.get("etag"), "If-Modified-Since": headers.get("last-modified")}
    return {name: value for name, value in found.items() if value and len(value.encode()) <= VALIDATOR_BYTES_MAX}


def retry_after(headers: dict[str, str]) -> float:
    told = headers.get("retry-after", "")
    return min(float(told), 86400.0) if told.isdecimal() else 0.0


def read(body: bytes, url: str) -> list[Entry]:
    """The entries of a document, in its order. Raises ValueError where it is no feed."""
    root = ElementTree.fromstring(body)
    items = [own for own in root.iter() if plain(own.tag) in ("item", "entry")]
    if plain(root.tag) not in ("rss", "feed", "RDF"):
        raise ValueError(f"it is a document `{plain(root.tag)}`")
    return [entry_of(item, url) for item in items]


def plain(tag: object) -> str:
    """A tag without its namespace."""
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def entry_of(item: ElementTree.Element, url: str) -> Entry:
    found: dict[str, str] = {}
    for own in item:
        name, text = plain(own.tag), "".join(own.itertext()).strip()
        if name == "link" and not text and own.get("rel", "alternate") == "alternate":
            text = own.get("href", "")
        if text:
            found.setdefault(name, text)

    def one_of(*names: str) -> str | None:
        return next((found[name] for name in names if name in found), None)

    link = one_of("link")
    return Entry(
        feed=url,
        id=one_of("id", "guid") or link or ElementTree.tostring(item, "unicode"),
        title=one_of("title"),
        link=link,
        published=time_of(one_of("published", "pubDate", "date", "updated")),
        summary=one_of("summary", "description", "content", "encoded"),
    )


def time_of(text: str | None) -> Timestamp | None:
    """A time as Atom or RSS writes it; None where it is written otherwise."""
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            found = parse(text or "")
            return Timestamp.of(found if found.tzinfo else found.replace(tzinfo=timezone.utc))
        except (ValueError, TypeError, OverflowError):
            pass
    return None
