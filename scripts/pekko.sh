#!/usr/bin/env bash
# Prints the directory of Pekko's jars (actors and streams). Downloads them from Maven Central if they are missing.
set -euo pipefail
exec "$(dirname "$0")/jars.sh" pekko-1.7.0 org.apache.pekko:pekko-stream_2.13:1.7.0 \
    org.apache.pekko:pekko-actor-typed_2.13:1.7.0 org.slf4j:slf4j-nop:2.0.17
