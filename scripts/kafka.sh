#!/usr/bin/env bash
# A Kafka broker on a port of 127.0.0.1, in the foreground; the first time it is fetched from Maven Central.
#   scripts/kafka.sh PORT [FOLDER]   FOLDER keeps its data; without one it forgets everything when it ends
#   scripts/kafka.sh                 only fetches it, and prints the folder of its jars
# In the folder, `more.properties` adds settings of the broker, and `scram` users: a line `name=…,password=…` each. With
# KAFKA_CONTROLLER_PORT in the environment, its own traffic goes over this port and not the one after PORT; with KAFKA_CLUSTER_ID it
# is one of the brokers of this cluster, of which `more.properties` tells.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
lib=$("$here/jars.sh" kafka-4.1.0 org.apache.kafka:kafka_2.13:4.1.0 org.slf4j:slf4j-simple:1.7.36)
if (($# == 0)); then
    echo "$lib"
    exit
fi

port=$1
controller=${KAFKA_CONTROLLER_PORT:-$((port + 1))}
folder=${2:-}
if [[ -z $folder ]]; then
    folder=$(mktemp -d)
    forget=yes
fi
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
settings="$folder/broker.properties"

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
log.dirs=$folder/data
# There is one broker, so all that it keeps is there once.
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
    [[ ! -e $folder/more.properties ]] || cat "$folder/more.properties"
} >"$settings"

# A small broker that is there soon: it has few clients, and does not run for long.
java=(java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto "-Dorg.slf4j.simpleLogger.defaultLogLevel=${KAFKA_LOG:-warn}" -cp "$lib/*")

if [[ ! -e $folder/data/meta.properties ]]; then
    scram=()
    if [[ -e $folder/scram ]]; then
        while read -r user; do scram+=(--add-scram "SCRAM-SHA-256=[$user]" --add-scram "SCRAM-SHA-512=[$user]"); done <"$folder/scram"
    fi
    # Each has an id of its own, as clients tell clusters apart by it; 22 characters stand for 16 bytes.
    id=${KAFKA_CLUSTER_ID:-$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d '=')}
    "${java[@]}" -Xmx64m kafka.tools.StorageTool format --cluster-id "$id" --config "$settings" "${scram[@]}" >/dev/null
fi

echo "kafka: listens on 127.0.0.1:$port; data in $folder" >&2
if [[ -n ${forget:-} ]]; then
    # However the broker ends: it becomes this process, so nothing is left of this script by then.
    (
        trap '' INT TERM HUP
        while kill -0 $$ 2>/dev/null; do sleep 1; done
        rm -rf "$folder"
    ) >/dev/null 2>&1 </dev/null &
fi
exec "${java[@]}" -Xmx256m kafka.Kafka "$settings"
