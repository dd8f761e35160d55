#!/usr/bin/env bash
# Runs a program in Python with ZeroMQ (pyzmq, of PyPI); the first time the package is fetched.
#   scripts/zeromq.sh PROGRAM.py [ARGUMENT…]
#   scripts/zeromq.sh                         only fetches it, and prints the folder of its files
set -euo pipefail
folder=$("$(dirname "$0")/pypi.sh" pyzmq)
if (($# == 0)); then
    echo "$folder"
    exit
fi
PYTHONPATH="$folder" exec python3 "$@"
