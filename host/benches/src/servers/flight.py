"""An Arrow Flight server, and Flight clients for comparison.

    flight.py serve PORT ROWS       prints `ready`, sends ROWS rows to readers, and discards the rows that it receives
    flight.py read PORT ROWS        reads all rows
    flight.py keep PORT ROWS FILE   reads all rows, and syncs them to a file on disk every 500,000 rows
    flight.py write PORT FILE       writes the rows of a JSON file, in streams of 50,000 lines
"""

import io
import itertools
import os
import sys

import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.flight as flight
import pyarrow.json

command, port, argument, *more = sys.argv[1:]
address = f"grpc://127.0.0.1:{port}"
STREAM = flight.FlightDescriptor.for_path("rows")
ROWS_PER_BATCH = 16_384
# About the rows of a batch of the job.
ROWS_PER_SYNC = 500_000


class Server(flight.FlightServerBase):
    def __init__(self, rows):
        numbers = range(ROWS_PER_BATCH)
        batch = pa.record_batch(
            {
                "user": [f"user-{n:06}" for n in numbers],
                "page": [f"/a/page/{n % 977:08}" for n in numbers],
                "n": pa.array(numbers, pa.int64()),
                "amount": [n % 89 + 10.25 for n in numbers],
            }
        )
        batches, rest = divmod(rows, ROWS_PER_BATCH)
        self.rows = pa.Table.from_batches([batch] * batches + ([batch.slice(0, rest)] if rest else []))
        super().__init__(address)

    def get_flight_info(self, context, descriptor):
        parts = [flight.FlightEndpoint("all", [])]
        return flight.FlightInfo(self.rows.schema, descriptor, parts, len(self.rows), -1)

    def do_get(self, context, ticket):
        return flight.RecordBatchStream(self.rows)

    def do_put(self, context, descriptor, reader, writer):
        for chunk in reader:
            pass


if command == "serve":
    server = Server(int(argument))
    print("ready", flush=True)
    server.serve()
    sys.exit()
client = flight.connect(address)
if command in ("read", "keep"):
    count, total, unsynced = 0, 0, 0
    file = open(more[0], "wb", buffering=0) if more else None
    info = client.get_flight_info(STREAM)
    writer = pa.ipc.new_stream(file, info.schema) if file else None
    for endpoint in info.endpoints:
        for chunk in client.do_get(endpoint.ticket):
            rows = chunk.data
            if file:
                writer.write_batch(rows)
                unsynced += len(rows)
            if unsynced >= ROWS_PER_SYNC:
                os.fdatasync(file.fileno())
                unsynced = 0
            count += len(rows)
            total += compute.sum(rows["n"]).as_py() + compute.sum(rows["amount"]).as_py()
            total += sum(compute.sum(compute.binary_length(rows[name])).as_py() for name in ("user", "page"))
    if file:
        os.fdatasync(file.fileno())
    assert count == int(argument) and total > 0
else:
    with open(argument, "rb") as lines:
        while chunk := b"".join(itertools.islice(lines, 50_000)):
            rows = pyarrow.json.read_json(io.BytesIO(chunk))
            writer, _ = client.do_put(STREAM, rows.schema)
            writer.write_table(rows)
            writer.close()
