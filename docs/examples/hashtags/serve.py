"""Serves posts.jsonl as an endless HTTP stream, to clients that send the token in the environment variable POSTS_TOKEN.

    python3 serve.py PORT [SECONDS_BETWEEN_POSTS]

Like the streams of social networks, it sends a client the posts from the connection on. After the last post it sends empty lines, which
show that the connection is alive.
"""

import http.server
import os
import pathlib
import sys
import time

port = int(sys.argv[1])
pause = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
token = os.environ["POSTS_TOKEN"]
posts = iter(pathlib.Path(__file__).with_name("posts.jsonl").read_bytes().splitlines())


class Stream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers["Authorization"] != f"Bearer {token}":
            self.send_error(401, "wrong token")
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            line = next(posts, b"") + b"\r\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
            time.sleep(pause)


http.server.ThreadingHTTPServer(("127.0.0.1", port), Stream).serve_forever()
