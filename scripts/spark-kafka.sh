#!/usr/bin/env bash
# Prints the folder of the jars with which Spark reads and writes Kafka; the first time they are fetched from Maven Central.
set -euo pipefail
# The newest one that is published there.
exec "$(dirname "$0")/jars.sh" spark-kafka-4.2.0 org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0
