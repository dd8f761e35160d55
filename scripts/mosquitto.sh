#!/usr/bin/env bash
# Runs an MQTT server (mosquitto) in the foreground. If it is missing, downloads its Debian packages and unpacks them without installing
# them.
#   scripts/mosquitto.sh CONFIG   CONFIG: a file in the format of mosquitto.conf
#   scripts/mosquitto.sh          only downloads, and prints the directory of the packages
set -euo pipefail
root=$("$(dirname "$0")/debian.sh" mosquitto mosquitto-clients)
if (($# == 0)); then
    echo "$root"
    exit
fi
libraries=$(find "$root/usr/lib" "$root/lib" -name '*.so*' -printf '%h\n' 2>/dev/null | sort -u | paste -sd:)
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec "$root/usr/sbin/mosquitto" -c "$1"
