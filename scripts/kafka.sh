#!/usr/bin/env bash
# Runs a Kafka broker on a port of 127.0.0.1, in the foreground. Downloads it from Maven Central if it is missing.
#   scripts/kafka.sh PORT [DIR]   DIR keeps the data; without DIR, the data is deleted when the broker exits
#   scripts/kafka.sh              only downloads, and prints the directory of the jars
# In DIR, the file `more.properties` adds broker settings, and the file `scram` adds users: one line `name=…,password=…` each.
# KAFKA_CONTROLLER_PORT is the port of the controller, PORT + 1 by default. KAFKA_CLUSTER_ID makes the broker a member of this cluster,
# which `more.properties` describes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
lib=$("$here/jars.sh" kafka-4.1.0 org.apache.kafka:kafka_2.13:4.1.0 org.slf4j:slf4j-simple:1.7.36)
if (($# == 0)); then
    echo "$lib"
    exit
fi

port=$1
controller=${KAFKA_CONTROLLER_PORT:-$((port + 1))}
dir=${2:-}
if [[ -z $dir ]]; then
    dir=$(mktemp -d)
    temporary=yes
fi
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
settings="$dir/broker.properties"

{
    cat <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/data
# With one broker there is one replica of everything.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
END
    [[ ! -e $dir/more.properties ]] || cat "$dir/more.properties"
} >"$settings"

# Options for a fast start and little memory: the broker has few clients and does not run for long.
java=(java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto "-Dorg.slf4j.simpleLogger.defaultLogLevel=${KAFKA_LOG:-warn}" -cp "$lib/*")

if [[ ! -e $dir/data/meta.properties ]]; then
    scram=()
    if [[ -e $dir/scram ]]; then
        while read -r user; do scram+=(--add-scram "SCRAM-SHA-256=[$user]" --add-scram "SCRAM-SHA-512=[$user]"); done <"$dir/scram"
    fi
    # Clients distinguish clusters by this ID, so each broker gets a new one: 16 bytes as 22 characters.
    id=${KAFKA_CLUSTER_ID:-$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d '=')}
    "${java[@]}" -Xmx64m kafka.tools.StorageTool format --cluster-id "$id" --config "$settings" "${scram[@]}" >/dev/null
fi

echo "kafka: listens on 127.0.0.1:$port; data in $dir" >&2
if [[ -n ${temporary:-} ]]; then
    # A background process deletes the data however the broker exits: `exec` below replaces this script, so it cannot.
    (
        trap '' INT TERM HUP
        while kill -0 $$ 2>/dev/null; do sleep 1; done
        rm -rf "$dir"
    ) >/dev/null 2>&1 </dev/null &
fi
exec "${java[@]}" -Xmx256m kafka.Kafka "$settings"
