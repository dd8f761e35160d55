"""Random messages for a sink with format `protobuf`: rows of a job, and the same values encoded by Google's implementation.

    python protobuf_sink.py make FOLDER SEED proto2|proto3
    python protobuf_sink.py check FOLDER proto2|proto3

`make` writes order.pb, schema.toml (the columns), input.jsonl (the rows) and expected.hex (one message per line). `check` compares
records.hex with expected.hex. Needs protobuf of scripts/python.txt.
"""

import json
import pathlib
import random
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2, wrappers_pb2

F = descriptor_pb2.FieldDescriptorProto
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def files(syntax):
    """Returns definitions in two files: `order.proto` imports `shop/buyer.proto`."""
    known = []
    for module in (timestamp_pb2, wrappers_pb2):
        proto = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(proto)
        known.append(proto)

    def add(message, name, number, kind, of=None, label=F.LABEL_OPTIONAL, optional=False):
        field = message.field.add(name=name, number=number, type=getattr(F, f"TYPE_{kind}"), label=label)
        if of:
            field.type_name = of
        if optional and syntax == "proto3":
            field.proto3_optional = True
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{name}")

    buyer_file = descriptor_pb2.FileDescriptorProto(name="shop/buyer.proto", package="shop", syntax=syntax)
    home = buyer_file.message_type.add(name="Home")
    add(home, "city", 1, "STRING")
    buyer = buyer_file.message_type.add(name="Buyer")
    add(buyer, "name", 1, "STRING")
    add(buyer, "home", 3, "MESSAGE", ".shop.Home")
    add(buyer, "age", 2, "INT32", optional=True)

    order_file = descriptor_pb2.FileDescriptorProto(name="order.proto", package="shop", syntax=syntax)
    order_file.dependency.extend(
        ["shop/buyer.proto", "google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto"])
    colour = order_file.enum_type.add(name="Colour")
    for number, symbol in enumerate(["NONE", "RED", "BLUE"]):
        colour.value.add(name=symbol, number=number)
    colour.value.add(name="DARK", number=-7)
    order_file.message_type.add(name="First")
    outer = order_file.message_type.add(name="Outer")
    order = outer.nested_type.add(name="Order")
    many = F.LABEL_REPEATED
    line = order.nested_type.add(name="Line")
    add(line, "sku", 1, "STRING")
    add(line, "n", 2, "INT64")
    add(line, "at", 3, "MESSAGE", ".google.protobuf.Timestamp")
    for name, value in (("LabelsEntry", "INT32"), ("CountsEntry", "INT64")):
        entry = order.nested_type.add(name=name)
        entry.options.map_entry = True
        add(entry, "key", 1, "STRING")
        add(entry, "value", 2, value)
    order.oneof_decl.add(name="either")
    for name, number, kind in SCALARS:
        add(order, name, number, kind)
    add(order, "colour", 15, "ENUM", ".shop.Colour")
    add(order, "at", 16, "MESSAGE", ".google.protobuf.Timestamp")
    add(order, "may", 20, "MESSAGE", ".google.protobuf.Int64Value")
    add(order, "said", 21, "MESSAGE", ".google.protobuf.StringValue")
    add(order, "buyer", 22, "MESSAGE", ".shop.Buyer")
    add(order, "tags", 23, "STRING", label=many)
    add(order, "numbers", 24, "SINT64", label=many)
    add(order, "lines", 25, "MESSAGE", ".shop.Outer.Order.Line", label=many)
    add(order, "labels", 26, "MESSAGE", ".shop.Outer.Order.LabelsEntry", label=many)
    add(order, "counts", 27, "MESSAGE", ".shop.Outer.Order.CountsEntry", label=many)
    add(order, "left", 28, "STRING")
    add(order, "right", 29, "INT64")
    order.field[-1].oneof_index = order.field[-2].oneof_index = 0
    add(order, "colours", 30, "ENUM", ".shop.Colour", label=many)
    add(order, "opt", 31, "INT64", optional=True)
    return known + [buyer_file, order_file]


SCALARS = [("id", 1, "INT64"), ("name", 3, "STRING"), ("raw", 4, "BYTES"), ("ok", 5, "BOOL"), ("x", 6, "DOUBLE"),
           ("f", 7, "FLOAT"), ("i32", 8, "INT32"), ("s32", 9, "SINT32"), ("u32", 10, "UINT32"), ("u64", 11, "UINT64"),
           ("fx", 12, "FIXED64"), ("sf", 13, "SFIXED32"), ("s64", 14, "SINT64"), ("at_us", 17, "INT64"),
           ("day", 18, "INT32"), ("price", 19, "STRING"), ("sfx", 33, "SFIXED64"), ("far", 2000, "FIXED32")]

LINES = "list<struct<at: timestamp, sku: text, n: int64>>"
COLUMNS = {"id": "int64", "name": "text", "raw": "binary", "ok": "bool", "x": "float64", "f": "float64",
           "i32": "int64", "s32": "int64", "u32": "int64", "u64": "decimal(20,0)", "fx": "int64", "sf": "int64",
           "s64": "int64", "at_us": "timestamp", "day": "date", "price": "decimal(9,2)", "sfx": "int64",
           "far": "int64", "colour": "text", "at": "timestamp", "may": "int64", "said": "text",
           "buyer": "struct<age: int64, home: struct<city: text>, name: text>", "tags": "list<text>",
           "numbers": "list<int64>", "lines": LINES, "labels": "struct<a: int64, b: int64>",
           "counts": "list<struct<value: int64, key: text>>", "left": "text", "right": "int64",
           "colours": "list<text>", "opt": "int64"}
SYMBOLS = {"NONE": 0, "RED": 1, "BLUE": 2, "DARK": -7}


def moment(us):
    time = EPOCH + timedelta(microseconds=us)
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond:06}Z"


def message_of(syntax):
    pool = descriptor_pool.DescriptorPool()
    for file in files(syntax):
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Outer.Order"))


def random_row(rng, Order):
    """Returns a random row as JSON and as a message."""
    row, message = dict.fromkeys(COLUMNS), Order()

    def whole(name, low, high):
        row[name] = rng.choice([0, 1, low, high, rng.randint(low, high)])
        setattr(message, name, row[name])

    def text():
        return "".join(rng.choice(["a", "ä", "日", '"', "\\", "\n", " "]) for _ in range(rng.randrange(5)))

    def us():
        return rng.choice([0, -1, 1, 1_000_000, rng.randint(-(10**15), 10**15)])

    def set_text(name):
        row[name] = text()
        setattr(message, name, row[name])

    def set_ok():
        row["ok"] = message.ok = rng.random() < 0.5

    def set_raw():
        row["raw"] = text()
        message.raw = row["raw"].encode()

    def set_float(name, values):
        row[name] = rng.choice(values)
        setattr(message, name, float(row[name]))

    def set_time(name):
        value = us()
        row[name] = moment(value)
        if name == "at":
            message.at.FromMicroseconds(value)
        else:
            message.at_us = value

    def set_day():
        days = rng.randint(-30_000, 30_000)
        row["day"] = (EPOCH + timedelta(days=days)).strftime("%Y-%m-%d")
        message.day = days

    def set_price():
        value = Decimal(rng.randint(-99999, 99999)).scaleb(-2)
        row["price"] = message.price = str(value)

    def set_colour():
        row["colour"] = rng.choice(list(SYMBOLS))
        message.colour = SYMBOLS[row["colour"]]

    def set_buyer():
        row["buyer"] = {}
        message.buyer.SetInParent()
        if rng.random() < 0.7:
            row["buyer"]["name"] = message.buyer.name = text()
        if rng.random() < 0.7:
            row["buyer"]["age"] = message.buyer.age = rng.choice([0, -1, 44])
        if rng.random() < 0.7:
            row["buyer"]["home"] = {}
            message.buyer.home.SetInParent()
            if rng.random() < 0.7:
                row["buyer"]["home"]["city"] = message.buyer.home.city = text()

    def set_lines():
        row["lines"] = []
        for _ in range(rng.randrange(3)):
            line, made = {}, message.lines.add()
            if rng.random() < 0.7:
                line["sku"] = made.sku = text()
            if rng.random() < 0.7:
                line["n"] = made.n = rng.choice([0, 7, -(2**63)])
            if rng.random() < 0.7:
                value = us()
                line["at"] = moment(value)
                made.at.FromMicroseconds(value)
            row["lines"].append(line)

    def set_labels():
        row["labels"] = {key: rng.randrange(-3, 3) for key in rng.sample("ab", rng.randrange(3))}
        message.labels.update(row["labels"])

    def set_counts():
        counts = {text() + str(place): rng.choice([0, 2**40]) for place in range(rng.randrange(3))}
        row["counts"] = [{"key": key, "value": value} for key, value in counts.items()]
        message.counts.update(counts)

    def set_list(name, make, as_message=lambda value: value):
        row[name] = [make() for _ in range(rng.randrange(4))]
        getattr(message, name).extend(as_message(value) for value in row[name])

    def set_either():
        name = rng.choice(["left", "right"])
        row[name] = text() if name == "left" else rng.choice([0, -5])
        setattr(message, name, row[name])

    def set_wrapped(name, value):
        row[name] = value
        getattr(message, name).value = value
        getattr(message, name).SetInParent()

    def set_u64():
        value = rng.choice([0, 1, 2**64 - 1, 2**63])
        row["u64"] = str(value)
        message.u64 = value

    sets = [
        lambda: whole("id", -(2**63), 2**63 - 1), lambda: set_text("name"), set_raw,
        set_ok,
        lambda: set_float("x", [0.0, -0.0, 0.1, 1e300, -5e-324, 3]), lambda: set_float("f", [0.0, 0.5, -0.0, 1048576.25]),
        lambda: whole("i32", -(2**31), 2**31 - 1), lambda: whole("s32", -(2**31), 2**31 - 1),
        lambda: whole("u32", 0, 2**32 - 1), set_u64, lambda: whole("fx", 0, 2**63 - 1),
        lambda: whole("sf", -(2**31), 2**31 - 1), lambda: whole("s64", -(2**63), 2**63 - 1),
        lambda: whole("sfx", -(2**63), 2**63 - 1), lambda: whole("far", 0, 2**32 - 1),
        lambda: set_time("at"), lambda: set_time("at_us"), set_day, set_price, set_colour, set_buyer, set_lines,
        set_labels, set_counts, lambda: set_list("tags", text), lambda: set_list("numbers", lambda: rng.randint(-300, 300)),
        lambda: set_list("colours", lambda: rng.choice(list(SYMBOLS)), SYMBOLS.get), set_either,
        lambda: set_wrapped("may", rng.choice([0, -1, 2**62])), lambda: set_wrapped("said", text()),
        lambda: whole("opt", -9, 9),
    ]
    for make in sets:
        if rng.random() < 0.75:
            make()
    for name in ("tags", "numbers", "lines", "colours"):
        if row[name] is None and rng.random() < 0.5:
            row[name] = []
    return row, message


def make(folder, seed, syntax):
    rng = random.Random(f"{seed}/{syntax}")
    Order = message_of(syntax)
    made = descriptor_pb2.FileDescriptorSet(file=files(syntax)).SerializeToString()
    (folder / "order.pb").write_bytes(made)
    (folder / "schema.toml").write_text("".join(f'{name} = "{kind}"\n' for name, kind in COLUMNS.items()))
    rows = [random_row(rng, Order) for _ in range(300)]
    lines = [json.dumps([list(row.values()) for row, _ in rows[at:at + 50]]) for at in range(0, len(rows), 50)]
    (folder / "input.jsonl").write_text("\n".join(lines) + "\n")
    expected = [message.SerializeToString(deterministic=True).hex() for _, message in rows]
    (folder / "expected.hex").write_text("\n".join(expected) + "\n")


def check(folder, syntax):
    Order = message_of(syntax)

    def read(name):
        return [bytes.fromhex(line) for line in (folder / name).read_text().split("\n")[:-1]]

    records, expected = read("records.hex"), read("expected.hex")
    assert len(records) == len(expected), (len(records), len(expected))
    for number, (record, wanted) in enumerate(zip(records, expected)):
        found, meant = Order.FromString(record), Order.FromString(wanted)
        assert found.SerializeToString(deterministic=True) == wanted, (number, str(found), str(meant))
        assert not [name for name, _ in found.ListFields() if name.name not in COLUMNS]
        # Maps have no order, and in proto2 each list declares its encoding.
        if syntax == "proto3" and not found.labels and not found.counts:
            assert record == wanted, (number, record, wanted)
    print(f"{len(records)} records agree")


if __name__ == "__main__":
    what, folder, *rest = sys.argv[1:]
    {"make": make, "check": check}[what](pathlib.Path(folder), *rest)
