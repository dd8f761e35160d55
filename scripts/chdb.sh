#!/usr/bin/env bash
# Runs the engine of a recent ClickHouse (chdb, from PyPI) with a part of ClickHouse's HTTP interface, on a port of 127.0.0.1, in the
# foreground. Downloads the package if it is missing. scripts/clickhouse.sh starts a complete but old server.
#   scripts/chdb.sh PORT DIR   DIR keeps the data, even if the server is killed
#   scripts/chdb.sh            only downloads, and prints the directory of the package
set -euo pipefail
[[ $# -lt 2 ]] || data=$(realpath -m "$2")
cd "$(dirname "$0")"
dir=$(./pypi.sh chdb)
if (($# == 0)); then
    echo "$dir"
    exit
fi
PYTHONPATH="$dir" exec python3 ../tests/servers/clickhouse.py "$1" "$data"
