"""The engine of a recent ClickHouse (chdb) with the part of its HTTP interface that tests use, on a port of 127.0.0.1.

Usage: clickhouse.py PORT DIR   DIR has the data. Requests with a user name need the password in the environment variable
CLICKHOUSE_PASSWORD.
"""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.parse import parse_qsl, urlsplit

from chdb import session

# Parameters of the HTTP interface; all others are settings of the query.
OF_HTTP = {"query", "wait_end_of_query", "async_insert"}
PASSWORD = os.environ.get("CLICKHOUSE_PASSWORD")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        parameters = dict(parse_qsl(urlsplit(self.path).query))
        if self.headers.get("X-ClickHouse-User") and self.headers.get("X-ClickHouse-Key") != PASSWORD:
            return self.respond(403, "Code: 516. DB::Exception: me: Authentication failed: password is incorrect")
        query = parameters.get("query", "")
        settings = ", ".join(f"{name} = '{value}'" for name, value in parameters.items() if name not in OF_HTTP)
        if settings and " FORMAT " in query:
            query = query.replace(" FORMAT ", f" SETTINGS {settings} FORMAT ", 1)
        try:
            result = self.server.engine.query(f"{query}\n{body}" if query else body)
        except Exception as error:
            message = str(error)
            return self.respond(404 if "UNKNOWN_TABLE" in message else 400, message)
        self.respond(200, str(result))

    def respond(self, status, text):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


class Engine:
    """Runs one query at a time."""

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
