#!/usr/bin/env bash
# A Redis server on a port of 127.0.0.1, in the foreground; the first time its Debian packages are fetched, and unpacked without being installed.
#   scripts/redis.sh PORT FOLDER [OPTION…]   FOLDER keeps its data, each write of which is on the disk before it is confirmed
#   scripts/redis.sh                         only fetches it, and prints the folder of its files
set -euo pipefail
root=$("$(dirname "$0")/debian.sh" redis-server redis-tools)
if (($# == 0)); then
    echo "$root"
    exit
fi
port=$1
folder=${2:?which folder}
shift 2
mkdir -p "$folder"
libraries=$(find "$root/usr/lib" "$root/lib" -name '*.so*' -printf '%h\n' 2>/dev/null | sort -u | paste -sd:)
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec "$root/usr/bin/redis-server" --port "$port" --bind 127.0.0.1 --dir "$folder" --save '' --appendonly yes \
    --appendfsync always --daemonize no "$@"
