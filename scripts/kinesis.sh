#!/usr/bin/env bash
# Runs an in-memory server of the Kinesis protocol (kinesis-local, from npm) on ports of 127.0.0.1, in the foreground. Downloads the
# package if it is missing.
#   scripts/kinesis.sh HTTP_PORT HTTPS_PORT
#   scripts/kinesis.sh                        only downloads, and prints the directory of the package
set -euo pipefail

version=0.6.2
caches="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/millstream/servers"
dir="$caches/kinesis-local-$version"
fetch_seconds_max=300

# Downloads into a temporary directory and renames it at the end, so that an interrupted download never looks complete.
fetch() {
    local part="$dir.part"
    rm -rf "$part"
    mkdir -p "$part"
    echo '{"private": true}' >"$part/package.json"
    (cd "$part" && timeout "$fetch_seconds_max" npm install --silent --no-audit --no-fund --ignore-scripts \
        --cache "$part/cache" "kinesis-local@$version" >&2) || return 1
    rm -rf "$part/cache"
    mv "$part" "$dir"
}

if [[ ! -d $dir ]]; then
    mkdir -p "$caches"
    # Of two scripts that start at the same time, one waits and then uses what the other has downloaded.
    exec 9>"$dir.lock"
    flock 9
    if [[ ! -d $dir ]]; then
        command -v npm >/dev/null || { echo "setup: npm is missing, which fetches kinesis-local; install Node with npm" >&2 && exit 1; }
        echo "setup: fetching kinesis-local from npm, into $dir" >&2
        fetch || { echo "setup: npm could not fetch kinesis-local; see above" >&2 && exit 1; }
    fi
    exec 9>&-
fi
if (($# == 0)); then
    echo "$dir"
    exit
fi

export KINESIS_MOCK_PLAIN_PORT=$1 KINESIS_MOCK_TLS_PORT=$2 LOG_LEVEL=ERROR
for step in CREATE_STREAM DELETE_STREAM SPLIT_SHARD MERGE_SHARDS; do export "${step}_DURATION=100ms"; done
cd "$dir/node_modules/kinesis-local"
exec node main.js
