import threading
import unittest
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

from feed import ENTRIES_MAX, Feed, Place, read
from millstream import ConfigError, testing

ATOM = """<feed xmlns="http://www.w3.org/2005/Atom"><title>All</title>
<entry><id>urn:2</id><title>Two &amp; more</title><link rel="self" href="no"/><link href="https://a.example/2"/>
<published>2026-11-22T12:00:00+01:00</published><summary type="html">&lt;p&gt;b&lt;/p&gt;</summary></entry>
<entry><id>urn:1</id><title>One</title><updated>2026-11-22T10:00:00Z</updated></entry></feed>"""

RSS = b"""<?xml version="1.0" encoding="ISO-8859-1"?><rss version="2.0"><channel><title>All</title>
<item><title>Gr\xfc\xdfe</title><link>https://a.example/1</link><pubDate>Sun, 22 Nov 2026 10:00:00 GMT</pubDate></item>
<item><guid>g</guid><pubDate>yesterday</pubDate></item></channel></rss>"""


class Server:
    """Answers each request with what a function says: status, head and body."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], tuple[int, dict[str, str], bytes]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers, body = answer(self)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/feed"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def atom(numbers: range) -> bytes:
    entries = "".join(f"<entry><id>{n}</id></entry>" for n in reversed(numbers))
    return f'<feed xmlns="http://www.w3.org/2005/Atom">{entries}</feed>'.encode()


class FeedTest(unittest.TestCase):
    def test_reads_atom_and_rss(self) -> None:
        two, one = read(ATOM.encode(), "u")
        self.assertEqual((two.id, two.title, two.link, two.summary), ("urn:2", "Two & more", "https://a.example/2", "<p>b</p>"))
        self.assertEqual(two.published, 1795345200000000)
        self.assertEqual((one.published, one.link, one.summary), (1795341600000000, None, None))
        first, second = read(RSS, "u")
        self.assertEqual((first.id, first.title, first.published), ("https://a.example/1", "Grüße", 1795341600000000))
        self.assertEqual((second.id, second.title, second.published), ("g", None, None))
        with self.assertRaisesRegex(ValueError, "it is a document `html`"):
            read(b"<html/>", "u")

    def test_gives_each_entry_once_and_the_oldest_first(self) -> None:
        there = range(0, 3)
        asked: list[str | None] = []

        def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
            asked.append(request.headers["If-None-Match"])
            tag = f'"{there}"'
            return (304, {}, b"") if asked[-1] == tag else (200, {"ETag": tag}, atom(there))

        with Server(answer) as server:
            test = testing.source(Feed, config={"urls": [server.url], "every_seconds": 0.001})
            self.assertEqual(test.partitions(), [server.url])
            first = test.open(server.url).poll(2)
            self.assertEqual([row["id"] for row in first.rows], ["0", "1"])
            # Killed in the middle: the server must send all of it again.
            opened = test.open(server.url, first.position)
            second = opened.poll()
            self.assertEqual(([row["id"] for row in second.rows], asked), (["2"], [None, None]))
            there = range(1, 5)
            third = test.open(server.url, second.position).poll()
            self.assertEqual([row["id"] for row in third.rows], ["3", "4"])
            nothing = test.open(server.url, third.position).poll()
            self.assertEqual((nothing.rows, asked[-1]), ([], '"range(1, 5)"'))

    def test_refuses_what_is_no_feed_once(self) -> None:
        with Server(lambda _: (200, {}, b"<html>sorry</html>")) as server:
            test = testing.source(Feed, config={"urls": [server.url], "every_seconds": 0.001})
            first = test.open(server.url).poll()
            self.assertEqual(first.refused[0][0], b"<html>sorry</html>")
            self.assertIn("is not a feed: it is a document `html`", first.refused[0][1])
            self.assertEqual(test.open(server.url, first.position).poll().refused, [])

    def test_waits_as_long_as_a_server_says(self) -> None:
        with Server(lambda _: (429, {"Retry-After": "3600"}, b"")) as server:
            poll = testing.source(Feed, config={"urls": [server.url], "every_seconds": 1}).open(server.url).poll()
            self.assertEqual(poll.rows, [])
            self.assertGreater(poll.pause_ms or 0, 3_500_000)

    def test_a_position_is_small_however_large_the_feed(self) -> None:
        tag = "x" * 200
        with Server(lambda _: (200, {"ETag": tag, "Last-Modified": tag}, atom(range(1000)))) as server:
            poll = testing.source(Feed, config={"urls": [server.url]}).open(server.url).poll()
            self.assertEqual(len(poll.rows), ENTRIES_MAX)
            self.assertLessEqual(len(poll.position or b""), 4096 + 0)
            self.assertEqual(len(Place.read(poll.position).seen), ENTRIES_MAX)

    def test_refuses_a_config_that_is_wrong(self) -> None:
        for config, words in [
            ({"urls": []}, "`urls` is empty"),
            ({"urls": ["ftp://a"]}, "`ftp://a` is not an HTTP or HTTPS URL"),
            ({"urls": ["http://a"], "every_seconds": 0}, "up to a day"),
            ({"urls": ["http://a", "http://a"]}, "one twice"),
        ]:
            with self.assertRaisesRegex(ConfigError, words):
                testing.source(Feed, config=config).describe()


if __name__ == "__main__":
    unittest.main()
