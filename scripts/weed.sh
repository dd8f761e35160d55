#!/usr/bin/env bash
# An S3 server that keeps what it holds, also when it is killed (SeaweedFS), on a port of 127.0.0.1, in the foreground. Clients are
# `test` with the secret `secret`, or $WEED_SECRET; who does not sign may do everything, too.
#   scripts/weed.sh FOLDER PORT PORT PORT PORT PORT PORT PORT PORT   the first port speaks S3, the others are between its parts
set -euo pipefail
python=$("$(dirname "$0")/python.sh")
weed=$(dirname "$python")/weed
folder=${1:?which folder}
mkdir -p "$folder/data"
all='["Admin","Read","Write","List","Tagging"]'
cat >"$folder/s3.json" <<END
{"identities": [
  {"name": "test", "credentials": [{"accessKey": "test", "secretKey": "${WEED_SECRET:-secret}"}], "actions": $all},
  {"name": "anonymous", "actions": $all}
]}
END
shift
# A server of one part elects itself: it need not wait for others.
exec "$weed" server -ip=127.0.0.1 -ip.bind=127.0.0.1 -dir="$folder/data" -master.telemetry=false \
    -master.electionTimeout=1s -master.heartbeatInterval=100ms -master.volumeSizeLimitMB=64 -volume.max=20 \
    -filer -s3 -s3.config="$folder/s3.json" -s3.port.iceberg=0 -s3.port.lance=0 \
    -s3.port="$1" -s3.port.grpc="$2" -master.port="$3" -master.port.grpc="$4" \
    -volume.port="$5" -volume.port.grpc="$6" -filer.port="$7" -filer.port.grpc="$8"
