#!/usr/bin/env bash
# Prints the folder of a Prometheus with its tool, the machine's own or Debian's; the first time that is fetched.
set -euo pipefail
if own=$(command -v prometheus) && command -v promtool >/dev/null; then
    dirname "$own"
else
    # Its page needs 200 MB of scripts, which nobody looks at here.
    echo "$("$(dirname "$0")/debian.sh" --alone prometheus)/usr/bin"
fi
