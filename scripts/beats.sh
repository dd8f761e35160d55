#!/usr/bin/env bash
# Prints the path of a program that sends data like Filebeat, with Filebeat's own protocol client (tests/servers/beats, in Go).
# If it is missing, builds it outside the checkout; Go then downloads the client.
set -euo pipefail
cd "$(dirname "$0")/../tests/servers/beats"

caches="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/millstream/servers"
program="$caches/beats-$(cat main.go go.mod go.sum | sha256sum | cut -c 1-12)"
fetch_seconds_max=600

if [[ ! -x $program ]]; then
    mkdir -p "$caches"
    # Of two scripts that start at the same time, one waits and then uses what the other has built.
    exec 9>"$program.lock"
    flock 9
    if [[ ! -x $program ]]; then
        echo "setup: building a Beats client: $program" >&2
        timeout "$fetch_seconds_max" go build -o "$program.part" . >&2 ||
            { echo "setup: go could not build tests/servers/beats; see above" >&2 && exit 1; }
        mv "$program.part" "$program"
    fi
    exec 9>&-
fi
echo "$program"
