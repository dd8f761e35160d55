#!/usr/bin/env bash
# The engine of a new ClickHouse (chdb, of PyPI) behind a part of its HTTP interface, on a port of 127.0.0.1, in the foreground; the first
# time its package is fetched. scripts/clickhouse.sh starts a whole server, but an old one.
#   scripts/chdb.sh PORT FOLDER   FOLDER keeps the data, also when it is killed
#   scripts/chdb.sh               only fetches it, and prints the folder of its files
set -euo pipefail
[[ $# -lt 2 ]] || data=$(realpath -m "$2")
cd "$(dirname "$0")"

version=26.9.0
caches="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/millstream/servers"
folder="$caches/chdb-core-$version"
fetch_seconds_max=900

# Packages in a folder, which gets its name only when it is whole.
fetch() {
    local part="$folder.part"
    rm -rf "$part"
    timeout "$fetch_seconds_max" python3 -m pip install --quiet --no-input --disable-pip-version-check --no-deps --no-cache-dir \
        --target "$part" "chdb-core==$version" >&2 || return 1
    mv "$part" "$folder"
}

if [[ ! -d $folder ]]; then
    mkdir -p "$caches"
    # Of two that begin at once, one waits and finds what the other has fetched.
    exec 9>"$folder.lock"
    flock 9
    if [[ ! -d $folder ]]; then
        echo "setup: fetching chdb from PyPI, into $folder" >&2
        fetch || { echo "setup: pip could not fetch chdb-core; see above" >&2 && exit 1; }
    fi
    exec 9>&-
fi
if (($# == 0)); then
    echo "$folder"
    exit
fi
PYTHONPATH="$folder" exec python3 ../tests/servers/clickhouse.py "$1" "$data"
