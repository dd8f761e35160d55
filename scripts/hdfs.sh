#!/usr/bin/env bash
# A cluster of HDFS, a name node and a data node, on a port of 127.0.0.1, in the foreground; the first time it is fetched from
# Maven Central.
#   scripts/hdfs.sh PORT PORT FOLDER   clients talk to the first port, tests put and get files by HTTP at the second; FOLDER keeps
#                                      the data, also when it is killed
#   scripts/hdfs.sh                    only fetches it, and prints the folder of its jars
# It ends when its standard input does.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=3.4.2
lib=$("$here/jars.sh" "hadoop-$version" "org.apache.hadoop:hadoop-client-minicluster:$version" \
    "org.apache.hadoop:hadoop-client-api:$version" "org.apache.hadoop:hadoop-client-runtime:$version" \
    org.slf4j:slf4j-simple:1.7.36)
if (($# == 0)); then
    echo "$lib"
    exit
fi
folder=${3:?which folder}
mkdir -p "$folder"
exec java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto \
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=${HDFS_LOG:-error}" -cp "$lib/*" "$here/../tests/servers/Files.java" "$1" "$2" "$folder"
