"""An Arrow Flight server. The stream `numbers` returns the same rows for each request, in several parts. Received rows are written to a
file, one line per complete stream.

Usage: flight.py PORT FILE OPTIONS     OPTIONS is a JSON object, see below

With the option `grows`, there are other streams, to which each line of standard input adds rows. They have no end. Each line gets a line.

    {"stream": S, "part": P, "rows": [[n, k]]}      with "instead": true, the part has only these rows
"""

import base64
import collections
import json
import os
import sys
import threading
import time

import pyarrow as pa
import pyarrow.flight as flight

port, file, options = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
rows = options.get("rows", 100)
parts = options.get("parts", 2)
rows_of_batch = options.get("rows_of_batch", 10)
# Wait before each batch, in seconds.
delay = options.get("delay_ms", 0) / 1000
# Changes the values of the rows.
seed = options.get("seed", 0)
token = options.get("token")
login = options.get("login")
lock = threading.Lock()
growing = collections.defaultdict(lambda: [[] for _ in range(parts)])
grown = threading.Condition()
# How often a stream looks whether its client is still connected, in seconds.
look_every = 0.1


def time_of(n):
    # Exceeds the range of microseconds.
    return 9_300_000_000_000_000 if options.get("far") and n % 7 == 0 else n * 1000


def columns(first, count):
    numbers = range(first, first + count)
    if options.get("other"):
        return pa.table({"n": [f"no number {n}" for n in numbers]})
    if options.get("plain"):
        return pa.table({"n": pa.array(numbers, pa.int64()), "text": [f"row {n + seed}" for n in numbers]})
    return pa.table(
        {
            "text": pa.array([f"row {n + seed}" for n in numbers], pa.large_string()),
            "n": pa.array(numbers, pa.int64()),
            "unread": pa.array([None] * count, pa.null()),
            "small": pa.array([n % 200 for n in numbers], pa.uint8()),
            "half": pa.array([n / 2 for n in numbers], pa.float32()),
            "at": pa.array([time_of(n) for n in numbers], pa.timestamp("ms")),
            "day": pa.array([n % 1000 for n in numbers], pa.date32()),
            "word": pa.array([["even", "odd"][n % 2] for n in numbers], pa.string()).dictionary_encode(),
            "tags": pa.array([[f"t{n}", None][: n % 3] for n in numbers], pa.list_(pa.string())),
            "raw": pa.array([bytes([n % 256]) for n in numbers], pa.binary()),
            "who": pa.array(
                [{"name": f"w{n % 7}", "id": n} if n % 5 else None for n in numbers],
                pa.struct({"name": pa.string(), "id": pa.int32()}),
            ),
            "view": pa.array([f"a view of {n}" for n in numbers], pa.string_view()),
        }
    )


def pairs(rows):
    return pa.table(
        {"n": pa.array([n for n, _ in rows], pa.int64()), "k": pa.array([k for _, k in rows], pa.string())}
    )


def grow():
    for line in sys.stdin:
        more = json.loads(line)
        with grown:
            part = growing[more["stream"]][more.get("part", 0)]
            if more.get("instead"):
                part.clear()
            part.extend(more["rows"])
            grown.notify_all()
        print("grown", flush=True)


def follow(context, part):
    at = 0
    while not context.is_cancelled():
        with grown:
            grown.wait_for(lambda: len(part) > at, look_every)
            new = part[at:]
        at += len(new)
        if new:
            yield pairs(new)


class Who(flight.ServerMiddlewareFactory):
    def start_call(self, info, headers):
        shown = headers.get("authorization", [""])[0]
        if login and shown == "Basic " + base64.b64encode(login.encode()).decode():
            return Greeted()
        if shown != f"Bearer {token}":
            raise flight.FlightUnauthenticatedError("who are you?")


class Greeted(flight.ServerMiddleware):
    def sending_headers(self):
        return {"authorization": f"Bearer {token}"}


class Everybody(flight.ServerAuthHandler):
    def authenticate(self, outgoing, incoming):
        pass

    def is_valid(self, token):
        return ""


class Server(flight.FlightServerBase):
    def get_flight_info(self, context, descriptor):
        name = descriptor.command.decode() if descriptor.command else "/".join(p.decode() for p in descriptor.path)
        if name in growing:
            endpoints = [flight.FlightEndpoint(json.dumps([name, part]), []) for part in range(parts)]
            return flight.FlightInfo(pairs([]).schema, descriptor, endpoints, -1, -1)
        if name not in ("numbers", "a/numbers", "SELECT numbers"):
            raise KeyError(f"no stream {name}\nerror: \x1b[2J")
        locations = options.get("locations", [])
        endpoints = [flight.FlightEndpoint(f"{part}", locations) for part in range(parts)]
        return flight.FlightInfo(columns(0, 0).schema, descriptor, endpoints, rows * parts, -1)

    def do_get(self, context, ticket):
        if ticket.ticket.startswith(b"["):
            name, part = json.loads(ticket.ticket)
            return flight.GeneratorStream(pairs([]).schema, follow(context, growing[name][part]))
        part = int(ticket.ticket)

        def batches():
            for first in range(0, rows, rows_of_batch):
                time.sleep(delay)
                if options.get("stalls") == first:
                    time.sleep(3600)
                yield columns(part * rows + first, min(rows_of_batch, rows - first))

        packed = pa.ipc.IpcWriteOptions(compression=options.get("compression"))
        return flight.GeneratorStream(columns(0, 0).schema, (table for table in batches()), packed)

    def do_put(self, context, descriptor, reader, writer):
        if options.get("refuses"):
            raise flight.FlightServerError("not these rows", b"")
        found, said = [], []
        for chunk in reader:
            found += chunk.data.to_pylist()
            said.append(json.loads(chunk.app_metadata.to_pybytes()))
            writer.write(b"seen")
            time.sleep(delay)
        if not said and context.is_cancelled():
            # The client was killed before its first rows; the stream just ends.
            return
        where = descriptor.command.decode() if descriptor.command else [name.decode() for name in descriptor.path]
        with lock, open(file, "a") as out:
            out.write(json.dumps({"to": where, "said": said, "rows": found}, default=str) + "\n")
            out.flush()
            os.fsync(out.fileno())
        time.sleep(delay)


who = {}
if token:
    who = {"auth_handler": Everybody(), "middleware": {"who": Who()}}
scheme = "grpc"
if "certificate" in options:
    scheme = "grpc+tls"
    with open(options["certificate"], "rb") as cert, open(options["key"], "rb") as key:
        who["tls_certificates"] = [(cert.read(), key.read())]
server = Server(f"{scheme}://127.0.0.1:{port}", **who)
if options.get("grows"):
    threading.Thread(target=grow, daemon=True).start()
print("ready", flush=True)
server.serve()
