#!/usr/bin/env bash
# Prints the directory of Flink's jars, with SQL, RocksDB state and connectors. Downloads them from Maven Central if they are missing.
set -euo pipefail
flink=org.apache.flink
version=2.3.0
exec "$(dirname "$0")/jars.sh" "flink-$version-sql" $flink:flink-clients:$version $flink:flink-table-api-java-bridge:$version \
    $flink:flink-table-planner-loader:$version $flink:flink-table-runtime:$version $flink:flink-connector-files:$version \
    $flink:flink-json:$version $flink:flink-csv:$version $flink:flink-statebackend-rocksdb:$version \
    $flink:flink-connector-kafka:5.0.0-2.2 org.slf4j:slf4j-simple:1.7.36
