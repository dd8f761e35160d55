#!/usr/bin/env bash
# Runs a Redis server on a port of 127.0.0.1, in the foreground. If it is missing, downloads its Debian packages and unpacks them without
# installing them.
#   scripts/redis.sh PORT DIR [OPTION…]   DIR keeps the data; each write is on the disk before it is confirmed
#   scripts/redis.sh                      only downloads, and prints the directory of the packages
set -euo pipefail
root=$("$(dirname "$0")/debian.sh" redis-server redis-tools)
if (($# == 0)); then
    echo "$root"
    exit
fi
port=$1
dir=${2:?missing argument DIR}
shift 2
mkdir -p "$dir"
libraries=$(find "$root/usr/lib" "$root/lib" -name '*.so*' -printf '%h\n' 2>/dev/null | sort -u | paste -sd:)
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec "$root/usr/bin/redis-server" --port "$port" --bind 127.0.0.1 --dir "$dir" --save '' --appendonly yes \
    --appendfsync always --daemonize no "$@"
