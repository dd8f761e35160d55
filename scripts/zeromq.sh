#!/usr/bin/env bash
# Runs a program in Python with ZeroMQ (pyzmq, of PyPI); the first time the package is fetched.
#   scripts/zeromq.sh PROGRAM.py [ARGUMENT…]
#   scripts/zeromq.sh                         only fetches it, and prints the folder of its files
set -euo pipefail

version=27.3.0
caches="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/millstream/servers"
folder="$caches/pyzmq-$version"
fetch_seconds_max=300

# A package in a folder, which gets its name only when it is whole.
fetch() {
    local part="$folder.part"
    rm -rf "$part"
    timeout "$fetch_seconds_max" python3 -m pip install --quiet --no-input --disable-pip-version-check --no-deps --no-cache-dir \
        --target "$part" "pyzmq==$version" >&2 || return 1
    mv "$part" "$folder"
}

if [[ ! -d $folder ]]; then
    mkdir -p "$caches"
    # Of two that begin at once, one waits and finds what the other has fetched.
    exec 9>"$folder.lock"
    flock 9
    if [[ ! -d $folder ]]; then
        echo "setup: fetching pyzmq from PyPI, into $folder" >&2
        fetch || { echo "setup: pip could not fetch pyzmq; see above" >&2 && exit 1; }
    fi
    exec 9>&-
fi
if (($# == 0)); then
    echo "$folder"
    exit
fi
PYTHONPATH="$folder" exec python3 "$@"
