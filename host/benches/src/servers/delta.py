"""Appends the rows of a file to a table of Delta Lake. Usage: delta.py FILE TABLE"""

import io
import itertools
import sys

import pyarrow.json
from deltalake import write_deltalake

file, table = sys.argv[1:]
with open(file, "rb") as lines:
    while some := b"".join(itertools.islice(lines, 50_000)):
        write_deltalake(table, pyarrow.json.read_json(io.BytesIO(some)), mode="append")
