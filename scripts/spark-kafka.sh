#!/usr/bin/env bash
# Prints the directory of the jars of Spark's Kafka connector. Downloads them from Maven Central if they are missing.
set -euo pipefail
# The newest published version.
exec "$(dirname "$0")/jars.sh" spark-kafka-4.2.0 org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0
