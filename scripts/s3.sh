#!/usr/bin/env bash
# Runs an in-memory S3 server (moto) on a port of 127.0.0.1, in the foreground.
#   scripts/s3.sh PORT
set -euo pipefail
python=$("$(dirname "$0")/python.sh")
exec "$python" -m moto.server --host 127.0.0.1 --port "${1:?missing argument PORT}"
