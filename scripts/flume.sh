#!/usr/bin/env bash
# Prints the directory of the jars of a Flume agent. Downloads them from Maven Central if they are missing.
set -euo pipefail
exec "$(dirname "$0")/jars.sh" flume-1.11.0 org.apache.flume:flume-ng-node:1.11.0 \
    org.apache.flume.flume-ng-sinks:flume-http-sink:1.11.0
