#!/usr/bin/env bash
# Runs a durable S3 server (SeaweedFS) on ports of 127.0.0.1, in the foreground. The access key is `test`, its secret `secret` or
# $WEED_SECRET. Unsigned requests are allowed, too.
#   scripts/weed.sh DIR PORT PORT PORT PORT PORT PORT PORT PORT   clients use the first port for S3; DIR keeps the data, even if the
#                                                                 server is killed
set -euo pipefail
python=$("$(dirname "$0")/python.sh")
weed=$(dirname "$python")/weed
dir=${1:?missing argument DIR}
mkdir -p "$dir/data"
all='["Admin","Read","Write","List","Tagging"]'
cat >"$dir/s3.json" <<END
{"identities": [
  {"name": "test", "credentials": [{"accessKey": "test", "secretKey": "${WEED_SECRET:-secret}"}], "actions": $all},
  {"name": "anonymous", "actions": $all}
]}
END
shift
# Short election times: the only master elects itself without waiting for others.
exec "$weed" server -ip=127.0.0.1 -ip.bind=127.0.0.1 -dir="$dir/data" -master.telemetry=false \
    -master.electionTimeout=1s -master.heartbeatInterval=100ms -master.volumeSizeLimitMB=64 -volume.max=20 \
    -filer -s3 -s3.config="$dir/s3.json" -s3.port.iceberg=0 -s3.port.lance=0 \
    -s3.port="$1" -s3.port.grpc="$2" -master.port="$3" -master.port.grpc="$4" \
    -volume.port="$5" -volume.port.grpc="$6" -filer.port="$7" -filer.port.grpc="$8"
