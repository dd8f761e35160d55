#!/usr/bin/env bash
# A server that speaks Kinesis (kinesis-local, of npm), in memory, on a port of 127.0.0.1, in the foreground; the first time its package
# is fetched.
#   scripts/kinesis.sh PORT PORT   clients speak plain HTTP to the first port, and HTTPS to the second
#   scripts/kinesis.sh             only fetches it, and prints the folder of its files
set -euo pipefail

version=0.6.2
caches="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/millstream/servers"
folder="$caches/kinesis-local-$version"
fetch_seconds_max=300

# Into a folder that gets its name only when it is whole: who is interrupted leaves nothing that looks finished.
fetch() {
    local part="$folder.part"
    rm -rf "$part"
    mkdir -p "$part"
    echo '{"private": true}' >"$part/package.json"
    (cd "$part" && timeout "$fetch_seconds_max" npm install --silent --no-audit --no-fund --ignore-scripts \
        --cache "$part/cache" "kinesis-local@$version" >&2) || return 1
    rm -rf "$part/cache"
    mv "$part" "$folder"
}

if [[ ! -d $folder ]]; then
    mkdir -p "$caches"
    # Of two that begin at once, one waits and finds what the other has fetched.
    exec 9>"$folder.lock"
    flock 9
    if [[ ! -d $folder ]]; then
        command -v npm >/dev/null || { echo "setup: no npm to fetch kinesis-local with; scripts/setup.sh tests installs it" >&2 && exit 1; }
        echo "setup: fetching kinesis-local from npm, into $folder" >&2
        fetch || { echo "setup: npm could not fetch kinesis-local; see above" >&2 && exit 1; }
    fi
    exec 9>&-
fi
if (($# == 0)); then
    echo "$folder"
    exit
fi

export KINESIS_MOCK_PLAIN_PORT=$1 KINESIS_MOCK_TLS_PORT=$2 LOG_LEVEL=ERROR
for step in CREATE_STREAM DELETE_STREAM SPLIT_SHARD MERGE_SHARDS; do export "${step}_DURATION=100ms"; done
cd "$folder/node_modules/kinesis-local"
exec node main.js
