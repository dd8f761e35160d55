"""Random Avro, Protobuf and Parquet records: written by other implementations, read by the program, and compared.

    python oracle.py PROGRAM FOLDER SEED ROUNDS avro-file|avro-registry|protobuf|parquet

Needs fastavro, cramjam, protobuf and pyarrow of scripts/python.txt.
"""

import http.server
import io
import json
import math
import pathlib
import random
import shutil
import socket
import struct
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from decimal import Decimal

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def micros_text(us):
    time = EPOCH + timedelta(microseconds=us)
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond:06}Z"


def float_value(value):
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def same(found, expected):
    if isinstance(expected, float) and isinstance(found, (int, float)) and not isinstance(found, bool):
        return float(found) == expected
    if isinstance(expected, Json):
        return found is not None and same_json(json.loads(found), expected.value)
    return type(found) is type(expected) and found == expected


def same_json(found, expected):
    if isinstance(expected, dict):
        return isinstance(found, dict) and list(found) == list(expected) and all(same_json(found[k], expected[k]) for k in expected)
    if isinstance(expected, list):
        return isinstance(found, list) and len(found) == len(expected) and all(map(same_json, found, expected))
    if isinstance(expected, float):
        if not isinstance(found, (int, float)):
            return float_value(expected) == found
        # A 32-bit float has the fewest digits that distinguish it from its neighbors.
        short = abs(expected) < 1e38 and as_float("float", expected) == expected
        return float(found) == expected or (short and as_float("float", found) == expected)
    return found == expected


class Json:
    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return f"Json({self.value!r})"


def run(program, folder, source, columns, wanted=None, more=""):
    """Runs a job with this source. Returns its rows and rejected rows."""
    names = [f'{json.dumps(name)} = {kind}' for name, kind in columns]
    job = f"""batch = "0s"
[sources.in]
{source}
[sources.in.schema]
{chr(10).join(names)}
[sinks.out]
from = "in"
kind = "queue"
path = "out.jsonl"
[sinks.refused]
from = "in.rejected"
kind = "queue"
path = "refused.jsonl"
{more}
"""
    for name in ("out.jsonl", "refused.jsonl"):
        (folder / name).unlink(missing_ok=True)
    (folder / "job.toml").write_text(job)
    arguments = [program, "run", "job.toml"]
    if wanted is not None:
        arguments += ["--limit", str(wanted)]
    ended = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr + job

    def rows(name):
        path = folder / name
        lines = path.read_text().splitlines() if path.exists() else []
        return [row for line in lines for row in json.loads(line)["rows"]]

    return rows("out.jsonl"), rows("refused.jsonl"), ended.stderr


def compare(rows, refused, expected, context):
    assert not refused, (refused[:3], context)
    assert len(rows) == len(expected), (len(rows), len(expected), context)
    for number, (row, wanted) in enumerate(zip(rows, expected)):
        assert list(row) == list(wanted), (row, wanted)
        for name in wanted:
            assert same(row[name], wanted[name]), (number, name, row[name], wanted[name], context)


# --- Avro


def text(random):
    return "".join(random.choice(["a", "ä", "日", '"', "\\", "\n", "\0", "x", " "]) for _ in range(random.randrange(6)))


def json_of(kind, value):
    """Returns a value as the JSON that the program writes."""
    if isinstance(kind, list):
        for branch in kind:
            if fits(branch, value):
                return json_of(branch, value)
    name = kind["type"] if isinstance(kind, dict) else kind
    if name == "record":
        return {field["name"]: json_of(field["type"], value[field["name"]]) for field in kind["fields"]}
    if name == "array":
        return [json_of(kind["items"], item) for item in value]
    if name == "map":
        return {key: json_of(kind["values"], item) for key, item in value.items()}
    if isinstance(kind, dict) and kind.get("logicalType") == "decimal":
        return float(value)
    if name in ("bytes", "fixed"):
        return value.hex()
    if name in ("float", "double"):
        return float_value(as_float(name, value))
    return value


def as_float(name, value):
    return struct.unpack("<f", struct.pack("<f", value))[0] if name == "float" else float(value)


def fits(kind, value):
    name = kind["type"] if isinstance(kind, dict) else kind
    return {
        "null": value is None,
        "boolean": isinstance(value, bool),
        "int": isinstance(value, int) and not isinstance(value, bool),
        "long": isinstance(value, int) and not isinstance(value, bool),
        "float": isinstance(value, float),
        "double": isinstance(value, float),
        "string": isinstance(value, str),
        "bytes": isinstance(value, (bytes, Decimal)),
        "fixed": isinstance(value, bytes),
        "enum": isinstance(value, str),
        "array": isinstance(value, list),
        "map": isinstance(value, dict),
        "record": isinstance(value, dict),
    }[name]


class AvroFields:
    """Fields of a random schema, each with its columns and a generator of values."""

    def __init__(self, rng):
        self.rng = rng
        self.number = 0

    def field(self):
        self.number += 1
        name = f"f{self.number}"
        rng = self.rng
        kind, make, columns = self.kind(name)
        if rng.random() < 0.3:
            nullable = ["null", kind] if rng.random() < 0.5 else [kind, "null"]
            inner = make

            def make(inner=inner):
                return None if rng.random() < 0.3 else inner()

            def lifted(take):
                return lambda value: None if value is None else take(value)

            columns = [(column, word, lifted(take)) for column, word, take in columns]
            kind = nullable
        return {"name": name, "type": kind}, make, columns

    def kind(self, name):
        rng = self.rng
        long = lambda: rng.choice([0, -1, 2**63 - 1, -(2**63), rng.randrange(-1000, 1000), rng.getrandbits(40)])
        small = lambda: rng.choice([0, -1, 2**31 - 1, -(2**31), rng.randrange(-1000, 1000)])
        double = lambda: rng.choice([0.0, -1.5, 1e300, math.inf, rng.random() * 1000])
        choice = rng.randrange(18)
        own = lambda word, take: [(name, f'"{word}"', take)]
        if choice == 0:
            return "boolean", lambda: rng.random() < 0.5, own("bool", lambda v: v)
        if choice == 1:
            return "int", small, own("int64", lambda v: v)
        if choice == 2:
            return "long", long, own("int64", lambda v: v)
        if choice == 3:
            return "int", small, own("float64", float)
        if choice == 4:
            return "long", long, own("text", str)
        if choice == 5:
            return "double", double, own("float64", lambda v: float_value(v))
        if choice == 6:
            return "float", lambda: rng.choice([0.0, 1.5, rng.random()]), own("float64", lambda v: as_float("float", v))
        if choice == 7:
            return "string", lambda: text(rng), own("text", lambda v: v)
        if choice == 8:
            return "bytes", lambda: rng.randbytes(rng.randrange(5)), own("binary", lambda v: v.hex())
        if choice == 9:
            symbols = ["RED", "GREEN", "BLUE"]
            kind = {"type": "enum", "name": f"E{name}", "symbols": symbols}
            return kind, lambda: rng.choice(symbols), own("text", lambda v: v)
        if choice == 10:
            kind = {"type": "fixed", "name": f"X{name}", "size": 3}
            return kind, lambda: rng.randbytes(3), own("binary", lambda v: v.hex())
        if choice == 11:
            kind = {"type": "long", "logicalType": "timestamp-millis"}
            kind["logicalType"] = rng.choice(["", "local-"]) + kind["logicalType"]
            return kind, lambda: rng.randrange(-(10**13), 10**13), own("timestamp", lambda v: micros_text(v * 1000))
        if choice == 12:
            kind = {"type": "long", "logicalType": "timestamp-micros"}
            return kind, lambda: rng.randrange(-(10**16), 10**16), own("timestamp", micros_text)
        if choice == 13:
            kind = {"type": "int", "logicalType": "date"}
            return kind, lambda: rng.randrange(-30_000, 30_000), own("timestamp", lambda v: micros_text(v * 86_400_000_000))
        if choice == 14:
            kind = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
            return kind, lambda: Decimal(rng.randrange(-(10**11), 10**11)) / 100, own("text", lambda v: f"{v:.2f}")
        if choice == 15:
            first, make_first, columns = self.field()
            kind = {"type": "record", "name": f"R{name}", "fields": [{"name": "skipped", "type": "string"}, first]}
            inner = [
                (f"{name}_{column}", path(word, [name, column]), lambda v, take=take: take(v[first["name"]]))
                for column, word, take in columns
                if "path" not in word
            ]
            own = [(name, '"text"', lambda v: Json(json_of(kind, v)))]
            return kind, lambda: {"skipped": text(rng), first["name"]: make_first()}, own + inner
        if choice == 16:
            kind = {"type": "array", "items": "long"}
            columns = [
                (name, '"text"', lambda v: Json(v)),
                (f"{name}_1", path('"int64"', [name, "1"]), lambda v: v[1] if len(v) > 1 else None),
            ]
            return kind, lambda: [long() for _ in range(rng.randrange(4))], columns
        kind = {"type": "map", "values": ["null", "string"]}
        columns = [
            (name, '"text"', lambda v: Json(v)),
            (f"{name}_k", path('"text"', [name, "k"]), lambda v: v.get("k")),
        ]
        return kind, lambda: {key: rng.choice([None, text(rng)]) for key in rng.sample(["k", "l", "ä"], rng.randrange(4))}, columns


def path(word, names):
    return f"{{ type = {word}, path = {json.dumps(names)} }}"


def avro_schema(rng, version=""):
    fields = AvroFields(rng)
    made = [fields.field() for _ in range(rng.randrange(1, 8))]
    schema = {"type": "record", "name": "Order", "namespace": "shop", "fields": [field for field, _, _ in made]}
    columns = [column for _, _, columns in made for column in columns]

    def record():
        return {field["name"]: make() for field, make, _ in made}

    def row(value):
        rows = {}
        for field, _, own in made:
            for name, _, take in own:
                rows[name] = take(value[field["name"]])
        return rows

    return schema, columns, record, row


def avro_file(program, folder, rng):
    import fastavro

    schema, columns, record, row = avro_schema(rng)
    records = [record() for _ in range(rng.choice([0, 1, 50, 2000]))]
    codec = rng.choice(["null", "deflate", "snappy", "zstandard"])
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(schema), records, codec=codec, sync_interval=rng.choice([10, 1000, 100_000]))
    (folder / "in.avro").write_bytes(out.getvalue())
    kept = [column for column in columns if rng.random() < 0.8] or columns[:1]
    shutil.rmtree(folder / "again", ignore_errors=True)
    again = '[sinks.again]\nfrom = "in"\nkind = "files"\npath = "again"\nformat = "avro"'
    source = 'kind = "file"\npath = "in.avro"\nformat = "avro"'
    rows, refused, _ = run(program, folder, source, [(n, w) for n, w, _ in kept], more=again)
    names = [name for name, _, _ in kept]
    expected = [{name: row(value)[name] for name in names} for value in records]
    compare(rows, refused, expected, (schema, codec))
    # Reads with fastavro what the program has written.
    written = [row for part in sorted((folder / "again").glob("part-*.avro")) for row in fastavro.reader(part.open("rb"))]
    assert len(written) == len(rows)
    for row, found in zip(rows, written):
        assert list(row) == list(found) and all(written_as(found[name]) == row[name] for name in row), (row, found)


def written_as(value):
    """Converts a value from a file of the program to the program's JSON."""
    if isinstance(value, datetime):
        return micros_text((value - EPOCH) // timedelta(microseconds=1))
    if isinstance(value, bytes):
        return value.hex()
    return float_value(value) if isinstance(value, float) else value


class Registry(http.server.BaseHTTPRequestHandler):
    schemas = {}

    def do_GET(self):
        found = self.schemas.get(self.path)
        body = json.dumps({"schema": found} if found else {"error_code": 40403, "message": "Schema not found"}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve_frames(frames):
    """Starts a server that sends these frames to the first client."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(8)

    def send():
        stream, _ = listener.accept()
        for frame in frames:
            stream.sendall(struct.pack(">I", len(frame)) + frame)
        kept.append(stream)

    kept = [listener]
    threading.Thread(target=send, daemon=True).start()
    return listener.getsockname()[1], kept


def avro_registry(program, folder, rng):
    import fastavro

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # Versions of one schema: each has some of its fields, in another order, and some additional ones.
    schema, columns, record, row = avro_schema(rng)
    frames, expected = [], []
    for number in range(rng.randrange(1, 4)):
        fields = rng.sample(schema["fields"], rng.randrange(1, len(schema["fields"]) + 1))
        own = {"name": f"new{number}", "type": ["null", "string"], "default": None}
        version = {**schema, "fields": fields + [own]}
        Registry.schemas[f"/schemas/ids/{number + 7}"] = json.dumps(version)
        parsed = fastavro.parse_schema(json.loads(json.dumps(version)))
        for _ in range(rng.randrange(1, 40)):
            value = record()
            body = io.BytesIO()
            fastavro.schemaless_writer(body, parsed, {**{f["name"]: value[f["name"]] for f in fields}, own["name"]: "x"})
            frames.append((b"\0" + struct.pack(">I", number + 7) + body.getvalue(), value, {f["name"] for f in fields}))
    rng.shuffle(frames)
    for _, value, has in frames:
        whole = row(value)
        missing = {name for name, word, _ in columns if (name.split("_")[0] not in has)}
        expected.append({name: None if name in missing else whole[name] for name in whole})
    port, kept = serve_frames([frame for frame, _, _ in frames])
    source = f'kind = "raw-socket"\naddress = "127.0.0.1:{port}"\nformat = "avro"\nregistry = "http://127.0.0.1:{server.server_port}"'
    rows, refused, _ = run(program, folder, source, [(n, w) for n, w, _ in columns], len(frames))
    compare(rows, refused, expected, schema)
    server.shutdown()


# --- Protobuf


SCALARS = ["double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "bytes", "uint32", "sfixed32", "sfixed64", "sint32", "sint64"]


def scalar(rng, name):
    """Returns a value, and a column type for it."""
    bits = {"int64": 64, "sint64": 64, "sfixed64": 64, "int32": 32, "sint32": 32, "sfixed32": 32}
    unsigned = {"uint64": 63, "fixed64": 63, "uint32": 32, "fixed32": 32}
    if name in bits:
        n = bits[name] - 1
        return rng.choice([0, -1, 2**n - 1, -(2**n), rng.randrange(-1000, 1000)])
    if name in unsigned:
        return rng.choice([0, 1, 2 ** unsigned[name] - 1, rng.randrange(1000)])
    return {
        "double": lambda: rng.choice([0.0, -1.5, 1e300, math.inf]),
        "float": lambda: rng.choice([0.0, 1.5, 0.25]),
        "bool": lambda: rng.random() < 0.5,
        "string": lambda: text(rng),
        "bytes": lambda: rng.randbytes(rng.randrange(4)),
    }[name]()


def column_of(name):
    return {"double": "float64", "float": "float64", "bool": "bool", "string": "text", "bytes": "binary"}.get(name, "int64")


def message_json(message):
    """Returns the set fields of a message, as the program writes them."""

    def of(field, value):
        if field.message_type:
            return message_json(value)
        return value.hex() if isinstance(value, bytes) else float_value(value) if isinstance(value, float) else value

    found = {field.name: of(field, value) for field, value in message.ListFields()}
    return {field.name: found[field.name] for field in message.DESCRIPTOR.fields if field.name in found}


def taken(name, value):
    if name == "bytes":
        return value.hex()
    return float_value(value) if name in ("double", "float") else value


def protobuf(program, folder, rng):
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2, wrappers_pb2
    from google.protobuf.internal.encoder import _VarintBytes

    F = descriptor_pb2.FieldDescriptorProto
    syntax = rng.choice(["proto2", "proto3"])
    file = descriptor_pb2.FileDescriptorProto(name="in.proto", package="shop", syntax=syntax)
    file.dependency.extend(["google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto"])
    colour = file.enum_type.add(name="Colour")
    for number, symbol in enumerate(["NONE", "RED", "BLUE"]):
        colour.value.add(name=symbol, number=number)
    inner = file.message_type.add(name="Inner")
    order = file.message_type.add(name="Order")
    columns, takes, makes = [], [], []

    def add(message, name, kind, number, label=F.LABEL_OPTIONAL, type_name=None):
        field = message.field.add(name=name, number=number, label=label, type=kind)
        if type_name:
            field.type_name = type_name
        return field

    kind_of = lambda name: getattr(F, f"TYPE_{name.upper()}")
    inner_fields = [(f"i{n}", rng.choice(SCALARS)) for n in range(1, 4)]
    for number, (name, kind) in enumerate(inner_fields, 1):
        add(inner, name, kind_of(kind), number)
    numbers = rng.sample([1, 2, 3, 15, 16, 100, 2047, 2048, 100_000, 536_870_911, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 17, 18], 22)
    implicit = syntax == "proto3"
    for _ in range(rng.randrange(1, 6)):
        number, kind = numbers.pop(), rng.choice(SCALARS)
        name = f"s{number}"
        field = add(order, name, kind_of(kind), number)
        optional = implicit and rng.random() < 0.3
        if optional:
            field.proto3_optional = True
            field.oneof_index = len(order.oneof_decl)
            order.oneof_decl.add(name=f"_{name}")
        present = lambda m, name=name: m.HasField(name)
        always = implicit and not optional
        own = lambda m, name=name, kind=kind, always=always: taken(kind, getattr(m, name)) if always or m.HasField(name) else None
        columns.append((name, f'"{column_of(kind)}"'))
        takes.append(own)
        if column_of(kind) == "int64":
            columns.append((f"{name}_exact", path('"decimal(20,0)"', [name])))
            takes.append(own)
        makes.append(lambda m, name=name, kind=kind: setattr(m, name, scalar(rng, kind)))
    add(order, "colour", F.TYPE_ENUM, numbers.pop(), type_name=".shop.Colour")
    columns.append(("colour", '"text"'))
    takes.append(lambda m: ["NONE", "RED", "BLUE"][m.colour] if implicit or m.HasField("colour") else None)
    makes.append(lambda m: setattr(m, "colour", rng.randrange(3)))
    add(order, "at", F.TYPE_MESSAGE, numbers.pop(), type_name=".google.protobuf.Timestamp")
    columns.append(("at", '"timestamp"'))
    takes.append(lambda m: micros_text(m.at.seconds * 1_000_000 + m.at.nanos // 1000) if m.HasField("at") else None)
    makes.append(lambda m: m.at.FromMicroseconds(rng.randrange(-(10**15), 10**15)))
    add(order, "may", F.TYPE_MESSAGE, numbers.pop(), type_name=".google.protobuf.Int64Value")
    columns.append(("may", '"int64"'))
    takes.append(lambda m: m.may.value if m.HasField("may") else None)
    makes.append(lambda m: setattr(m.may, "value", rng.choice([0, -5, 2**62])))
    add(order, "inner", F.TYPE_MESSAGE, numbers.pop(), type_name=".shop.Inner")
    for name, kind in inner_fields:
        columns.append((f"inner_{name}", path(f'"{column_of(kind)}"', ["inner", name])))

        def take(m, name=name, kind=kind):
            if not m.HasField("inner") or not (implicit or m.inner.HasField(name)):
                return None
            return taken(kind, getattr(m.inner, name))

        takes.append(take)

    def make_inner(m):
        m.inner.SetInParent()
        for name, kind in inner_fields:
            if rng.random() < 0.7:
                setattr(m.inner, name, scalar(rng, kind))

    makes.append(make_inner)
    columns.append(("inner", '"text"'))
    takes.append(lambda m: Json(message_json(m.inner)) if m.HasField("inner") else None)

    def inner_columns(way, of):
        """Returns columns for the fields of a nested message at a path. `of` returns the message, or None."""
        for name, kind in rng.sample(inner_fields, rng.randrange(1, 4)):
            columns.append((f"{'_'.join(way)}_{name}_{len(columns)}", path(f'"{column_of(kind)}"', way + [name])))

            def take(m, name=name, kind=kind):
                value = of(m)
                return None if value is None or not (implicit or value.HasField(name)) else taken(kind, getattr(value, name))

            takes.append(take)
        columns.append((f"{'_'.join(way)}_{len(columns)}", path('"text"', way)))
        takes.append(lambda m: None if of(m) is None else Json(message_json(of(m))))

    def fill(message):
        for name, kind in inner_fields:
            if rng.random() < 0.5:
                setattr(message, name, scalar(rng, kind))

    add(order, "items", F.TYPE_MESSAGE, numbers.pop(), F.LABEL_REPEATED, ".shop.Inner")
    for at in (0, 1):
        inner_columns(["items", str(at)], lambda m, at=at: m.items[at] if len(m.items) > at else None)
    makes.append(lambda m: [fill(m.items.add()) for _ in range(rng.randrange(3))])
    entry = order.nested_type.add(name="ByEntry")
    entry.options.map_entry = True
    add(entry, "key", F.TYPE_STRING, 1)
    add(entry, "value", F.TYPE_MESSAGE, 2, type_name=".shop.Inner")
    add(order, "by", F.TYPE_MESSAGE, numbers.pop(), F.LABEL_REPEATED, ".shop.Order.ByEntry")
    inner_columns(["by", "k"], lambda m: m.by["k"] if "k" in m.by else None)
    makes.append(lambda m: [fill(m.by[key]) for key in rng.sample(["k", "l"], rng.randrange(1, 3))])
    if not implicit:
        group = order.nested_type.add(name="Group")
        add(group, "x", F.TYPE_INT32, 1)
        add(order, "group", F.TYPE_GROUP, numbers.pop(), type_name=".shop.Order.Group")
        columns.append(("group_x", path('"int64"', ["group", "x"])))
        takes.append(lambda m: m.group.x if m.HasField("group") and m.group.HasField("x") else None)
        makes.append(lambda m: setattr(m.group, "x", scalar(rng, "int32")) if rng.random() < 0.8 else m.group.SetInParent())
    add(order, "list", F.TYPE_SINT64, numbers.pop(), F.LABEL_REPEATED).options.packed = rng.random() < 0.5
    columns += [("list", '"text"'), ("list_1", path('"int64"', ["list", "1"]))]
    takes += [lambda m: Json(list(m.list)), lambda m: m.list[1] if len(m.list) > 1 else None]
    makes.append(lambda m: m.list.extend(scalar(rng, "sint64") for _ in range(rng.randrange(4))))
    entry = order.nested_type.add(name="LabelsEntry")
    entry.options.map_entry = True
    add(entry, "key", F.TYPE_STRING, 1)
    add(entry, "value", F.TYPE_INT32, 2)
    add(order, "labels", F.TYPE_MESSAGE, numbers.pop(), F.LABEL_REPEATED, ".shop.Order.LabelsEntry")
    columns.append(("labels_k", path('"int64"', ["labels", "k"])))
    takes.append(lambda m: m.labels["k"] if "k" in m.labels else None)
    makes.append(lambda m: m.labels.update({key: scalar(rng, "int32") for key in rng.sample(["k", "l"], rng.randrange(3))}))
    of = len(order.oneof_decl)
    order.oneof_decl.add(name="either")
    for name in ("left", "right"):
        add(order, name, F.TYPE_STRING, numbers.pop()).oneof_index = of
        columns.append((name, '"text"'))
        takes.append(lambda m, name=name: getattr(m, name) if m.WhichOneof("either") == name else None)
    makes.append(lambda m: setattr(m, rng.choice(["left", "right"]), text(rng)))
    add(order, "middle", F.TYPE_MESSAGE, numbers.pop(), type_name=".shop.Inner").oneof_index = of
    inner_columns(["middle"], lambda m: m.middle if m.HasField("middle") else None)
    makes.append(lambda m: (m.middle.SetInParent(), fill(m.middle)))
    # Oneofs that represent an optional field come last.
    if any(field.proto3_optional for field in order.field):
        real = [n for n, decl in enumerate(order.oneof_decl) if not decl.name.startswith("_")]
        order_of = real + [n for n in range(len(order.oneof_decl)) if n not in real]
        names = [order.oneof_decl[n].name for n in order_of]
        for field in order.field:
            if field.HasField("oneof_index"):
                field.oneof_index = order_of.index(field.oneof_index)
        for decl, name in zip(order.oneof_decl, names):
            decl.name = name
    pool = descriptor_pool.DescriptorPool()
    files = []
    for module in (timestamp_pb2, wrappers_pb2):
        proto = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(proto)
        pool.Add(proto)
        files.append(proto)
    pool.Add(file)
    (folder / "in.pb").write_bytes(descriptor_pb2.FileDescriptorSet(file=files + [file]).SerializeToString())
    Order = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Order"))
    messages, bodies = [], []
    for _ in range(rng.choice([0, 1, 40, 3000])):
        message = Order()
        parts = []
        for make in makes:
            # Repeated occurrences of a field are merged, appended or replaced.
            for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
                part = Order()
                make(part)
                parts.append(part.SerializeToString())
        # Fields occur in any order, with unknown ones between them.
        rng.shuffle(parts)
        body = b"".join(parts) + (b"\xa2\x06\x01x" if rng.random() < 0.1 and 100 not in [f.number for f in order.field] else b"")
        message.ParseFromString(body)
        messages.append(message)
        bodies.append(body)
    names = [name for name, _ in columns]
    expected = [{name: take(m) for name, take in zip(names, takes)} for m in messages]
    common = 'format = "protobuf"\ndescriptor = "in.pb"\nmessage = "shop.Order"'
    how = rng.randrange(3)
    if how == 0 or not bodies:
        (folder / "in.bin").write_bytes(b"".join(_VarintBytes(len(body)) + body for body in bodies))
        rows, refused, _ = run(program, folder, f'kind = "file"\npath = "in.bin"\n{common}', columns)
    else:
        prefix = b"\0\0\0\0\x07" + rng.choice([b"\0", b"\x02\x02"]) if how == 1 else b""
        port, kept = serve_frames([prefix + body for body in bodies])
        more = "confluent = true" if how == 1 else ""
        rows, refused, _ = run(program, folder, f'kind = "raw-socket"\naddress = "127.0.0.1:{port}"\n{common}\n{more}', columns, len(bodies))
    compare(rows, refused, expected, (syntax, str(file)))


if __name__ == "__main__":
    sys.modules["oracle"] = sys.modules["__main__"]
    from parquet_oracle import parquet

    program, folder, seed, rounds, what = sys.argv[1:]
    for number in range(int(rounds)):
        rng = random.Random(f"{seed}/{number}/{what}")
        try:
            oracles = {"avro-file": avro_file, "avro-registry": avro_registry, "protobuf": protobuf, "parquet": parquet}
            oracles[what](program, pathlib.Path(folder), rng)
        except BaseException:
            print(f"seed {seed}, round {number}, {what}")
            raise
    print(f"{rounds} rounds of {what} agree")
