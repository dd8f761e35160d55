#!/usr/bin/env bash
# Prints the folder of a Flume agent's jars; the first time they are fetched from Maven Central.
set -euo pipefail
exec "$(dirname "$0")/jars.sh" flume-1.11.0 org.apache.flume:flume-ng-node:1.11.0 \
    org.apache.flume.flume-ng-sinks:flume-http-sink:1.11.0
