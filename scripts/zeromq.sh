#!/usr/bin/env bash
# Runs a Python program with ZeroMQ (pyzmq, from PyPI). Downloads the package if it is missing.
#   scripts/zeromq.sh PROGRAM.py [ARGUMENT…]
#   scripts/zeromq.sh                         only downloads, and prints the directory of the package
set -euo pipefail
dir=$("$(dirname "$0")/pypi.sh" pyzmq)
if (($# == 0)); then
    echo "$dir"
    exit
fi
PYTHONPATH="$dir" exec python3 "$@"
