#!/usr/bin/env bash
# A server of MQTT (mosquitto), in the foreground; the first time its Debian packages are fetched, and unpacked without being installed.
#   scripts/mosquitto.sh SETTINGS   SETTINGS: a file, as mosquitto.conf
#   scripts/mosquitto.sh            only fetches it, and prints the folder of its files
set -euo pipefail
root=$("$(dirname "$0")/debian.sh" mosquitto mosquitto-clients)
if (($# == 0)); then
    echo "$root"
    exit
fi
libraries=$(find "$root/usr/lib" "$root/lib" -name '*.so*' -printf '%h\n' 2>/dev/null | sort -u | paste -sd:)
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec "$root/usr/sbin/mosquitto" -c "$1"
