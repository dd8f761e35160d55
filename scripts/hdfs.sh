#!/usr/bin/env bash
# Runs an HDFS cluster of a name node and a data node on 127.0.0.1, in the foreground, until its standard input is closed. Downloads the
# jars from Maven Central if they are missing.
#   scripts/hdfs.sh PORT HTTP_PORT DIR   clients use PORT; tests read and write files over HTTP_PORT; DIR keeps the data, even if the
#                                        cluster is killed
#   scripts/hdfs.sh                      only downloads, and prints the directory of the jars
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
dir=${3:?missing argument DIR}
mkdir -p "$dir"
exec java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto \
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=${HDFS_LOG:-error}" -cp "$lib/*" "$here/../tests/servers/Files.java" "$1" "$2" "$dir"
