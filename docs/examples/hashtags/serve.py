"""Serves posts.jsonl as a stream that never ends, to whoever has the token: python3 serve.py PORT [SECONDS BETWEEN POSTS]

As with the streams of social networks, who connects hears what is posted from then on, and a blank line now and then says that the
server is still there. The token is in the environment variable POSTS_TOKEN."""

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
            self.send_error(401, "who are you?")
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
