"""The engine of a new ClickHouse (chdb) behind as much of its HTTP interface as tests use, on a port of 127.0.0.1.

Usage: clickhouse.py PORT FOLDER   FOLDER keeps the data. Who says that they are somebody must have the password `secret`.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.parse import parse_qsl, urlsplit

from chdb import session

# What the engine is asked with each query is no business of the way to it.
OF_HTTP = {"query", "wait_end_of_query", "async_insert"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        asked = dict(parse_qsl(urlsplit(self.path).query))
        if self.headers.get("X-ClickHouse-User") and self.headers.get("X-ClickHouse-Key") != "secret":
            return self.answer(403, "Code: 516. DB::Exception: me: Authentication failed: password is incorrect")
        query = asked.get("query", "")
        settings = ", ".join(f"{name} = '{value}'" for name, value in asked.items() if name not in OF_HTTP)
        if settings and " FORMAT " in query:
            query = query.replace(" FORMAT ", f" SETTINGS {settings} FORMAT ", 1)
        try:
            told = self.server.engine.query(f"{query}\n{body}" if query else body)
        except Exception as error:
            words = str(error)
            return self.answer(404 if "UNKNOWN_TABLE" in words else 400, words)
        self.answer(200, str(told))

    def answer(self, status, text):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


class Engine:
    """Is asked one thing at a time."""

    def __init__(self, folder):
        self.session, self.lock = session.Session(folder), Lock()

    def query(self, text):
        with self.lock:
            return self.session.query(text, "TabSeparated")


def main():
    port, folder = int(sys.argv[1]), sys.argv[2]
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.engine = Engine(folder)
    server.engine.query("CREATE DATABASE IF NOT EXISTS shop")
    server.serve_forever()


main()
