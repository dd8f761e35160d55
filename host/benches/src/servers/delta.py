"""Appends the rows of a JSON file to a Delta Lake table.

    delta.py FILE TABLE
"""

import io
import itertools
import sys

import pyarrow.json
from deltalake import write_deltalake

file, table = sys.argv[1:]
with open(file, "rb") as lines:
    while chunk := b"".join(itertools.islice(lines, 50_000)):
        write_deltalake(table, pyarrow.json.read_json(io.BytesIO(chunk)), mode="append")
