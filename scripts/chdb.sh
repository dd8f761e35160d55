#!/usr/bin/env bash
# The engine of a new ClickHouse (chdb, of PyPI) behind a part of its HTTP interface, on a port of 127.0.0.1, in the foreground; the first
# time its package is fetched. scripts/clickhouse.sh starts a whole server, but an old one.
#   scripts/chdb.sh PORT FOLDER   FOLDER keeps the data, also when it is killed
#   scripts/chdb.sh               only fetches it, and prints the folder of its files
set -euo pipefail
[[ $# -lt 2 ]] || data=$(realpath -m "$2")
cd "$(dirname "$0")"
folder=$(./pypi.sh chdb)
if (($# == 0)); then
    echo "$folder"
    exit
fi
PYTHONPATH="$folder" exec python3 ../tests/servers/clickhouse.py "$1" "$data"
