"""Reads and writes Delta tables with deltalake, for tests/tests/connectors/delta.rs. The arguments are the request; prints JSON."""

import json
import os
import sys

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

what, path = sys.argv[1:3]
options = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
options["allow_http"] = "true"


def appended(numbers):
    rows = pa.table({"n": pa.array(numbers, pa.int64()), "day": pa.array(["other"] * len(numbers))})
    # deltalake gives up after fifteen conflicts, which a job with frequent commits causes.
    for tries_left in reversed(range(20)):
        try:
            return write_deltalake(path, rows, mode="append", storage_options=options)
        except CommitFailedError:
            if not tries_left:
                raise


if what == "read":
    # Every number, how often it was committed and in how many files, and the content of the log.
    table = DeltaTable(path, storage_options=options)
    rows = table.to_pyarrow_table()
    actions = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    report = {
        "columns": {field.name: str(field.type) for field in rows.schema},
        "rows": sorted(rows.to_pylist(), key=lambda row: row["n"]) if len(sys.argv) > 3 else [],
        "numbers": sorted(rows["n"].to_pylist()),
        "days": sorted({str(day) for day in rows["day"].to_pylist()}) if "day" in rows.column_names else [],
        "counted": sum(action["num_records"] or 0 for action in actions),
        "files": sorted(action["path"] for action in actions),
        "version": table.version(),
        "partitions": table.metadata().partition_columns,
    }
    print(json.dumps(report, default=str))
elif what == "append":
    # One commit per number.
    for n in range(int(sys.argv[3]), int(sys.argv[4])):
        appended([n])
elif what == "compact":
    table = DeltaTable(path, storage_options=options)
    table.optimize.compact()
    table.create_checkpoint()
    print(table.version())
elif what == "property":
    DeltaTable(path).alter.set_table_properties({sys.argv[3]: sys.argv[4]}, raise_if_not_exists=False)
elif what == "delete":
    # Rows in small files, without a checkpoint in the table.
    from deltalake import PostCommitHookProperties

    table, no_checkpoint = DeltaTable(path, storage_options=options), PostCommitHookProperties(create_checkpoint=False)
    print(table.delete(sys.argv[3], post_commithook_properties=no_checkpoint)["num_removed_files"])
    table.optimize.compact(post_commithook_properties=no_checkpoint)
elif what == "make":
    schema = pa.schema([pa.field("n", pa.string()), pa.field("key", pa.int64(), nullable=False)])
    DeltaTable.create(path, schema)
elif what == "constrain":
    table = DeltaTable(path)
    table.alter.add_constraint({"positive": "n >= 0"})
elif what == "widen":
    from deltalake.schema import Field, PrimitiveType

    DeltaTable(path).alter.add_columns([Field("extra", PrimitiveType("string"))])

# The libraries may crash at exit, so flush before.
sys.stdout.flush()
os._exit(0)
