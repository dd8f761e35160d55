"""Arrow Flight, as a server and as plain programs over the library. Usage:

flight.py serve PORT ROWS     says `ready`, gives so many rows, and forgets those that it takes
flight.py read PORT ROWS      reads all of them
flight.py keep PORT ROWS FILE the same, and writes them to the disk before it goes on, some hundred thousand at a time
flight.py write PORT FILE     writes the rows of a file, in streams of 50,000
"""

import io
import itertools
import os
import sys

import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.flight as flight
import pyarrow.json

what, port, argument, *more = sys.argv[1:]
place = f"grpc://127.0.0.1:{port}"
STREAM = flight.FlightDescriptor.for_path("rows")
OF_BATCH = 16_384
# About as many as are in a batch of the job.
KEPT_AT_ONCE = 500_000


class Server(flight.FlightServerBase):
    def __init__(self, rows):
        numbers = range(OF_BATCH)
        some = pa.record_batch(
            {
                "user": [f"user-{n:06}" for n in numbers],
                "page": [f"/a/page/{n % 977:08}" for n in numbers],
                "n": pa.array(numbers, pa.int64()),
                "amount": [n % 89 + 10.25 for n in numbers],
            }
        )
        whole, left = divmod(rows, OF_BATCH)
        self.rows = pa.Table.from_batches([some] * whole + ([some.slice(0, left)] if left else []))
        super().__init__(place)

    def get_flight_info(self, context, descriptor):
        parts = [flight.FlightEndpoint("all", [])]
        return flight.FlightInfo(self.rows.schema, descriptor, parts, len(self.rows), -1)

    def do_get(self, context, ticket):
        return flight.RecordBatchStream(self.rows)

    def do_put(self, context, descriptor, reader, writer):
        for chunk in reader:
            pass


if what == "serve":
    server = Server(int(argument))
    print("ready", flush=True)
    server.serve()
    sys.exit()
client = flight.connect(place)
if what in ("read", "keep"):
    count, total, kept = 0, 0, 0
    file = open(more[0], "wb", buffering=0) if more else None
    info = client.get_flight_info(STREAM)
    writer = pa.ipc.new_stream(file, info.schema) if file else None
    for endpoint in info.endpoints:
        for chunk in client.do_get(endpoint.ticket):
            rows = chunk.data
            if file:
                writer.write_batch(rows)
                kept += len(rows)
            if kept >= KEPT_AT_ONCE:
                os.fdatasync(file.fileno())
                kept = 0
            count += len(rows)
            total += compute.sum(rows["n"]).as_py() + compute.sum(rows["amount"]).as_py()
            total += sum(compute.sum(compute.binary_length(rows[name])).as_py() for name in ("user", "page"))
    if file:
        os.fdatasync(file.fileno())
    assert count == int(argument) and total > 0
else:
    with open(argument, "rb") as lines:
        while some := b"".join(itertools.islice(lines, 50_000)):
            rows = pyarrow.json.read_json(io.BytesIO(some))
            writer, _ = client.do_put(STREAM, rows.schema)
            writer.write_table(rows)
            writer.close()
