#!/usr/bin/env bash
# Prints the directory of the programs prometheus and promtool. If they are not installed, downloads Debian's package.
set -euo pipefail
if own=$(command -v prometheus) && command -v promtool >/dev/null; then
    dirname "$own"
else
    # Without dependencies: they are 200 MB of scripts for Prometheus's page, which the tests do not open.
    echo "$("$(dirname "$0")/debian.sh" --alone prometheus)/usr/bin"
fi
