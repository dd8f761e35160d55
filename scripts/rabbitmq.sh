#!/usr/bin/env bash
# A server of RabbitMQ on a port of 127.0.0.1, in the foreground; the first time its Debian packages are fetched, and unpacked without being
# installed. Clients on this machine are `guest` with the password `guest`.
#   scripts/rabbitmq.sh PORT PORT PORT FOLDER [SETTINGS]   clients speak AMQP to the first port, the others are between its parts; FOLDER keeps
#                                                          its data, also when it is killed; SETTINGS: a file, as rabbitmq.conf
#   scripts/rabbitmq.sh ask PROGRAM.py [ARGUMENT…]         runs a program in Python with a client of it (pika, of PyPI)
#   scripts/rabbitmq.sh                                    only fetches both, and prints the folder of the server's files
set -euo pipefail
root=$("$(dirname "$0")/debian.sh" rabbitmq-server)
client=$("$(dirname "$0")/pypi.sh" pika)
if [[ ${1:-} == ask ]]; then
    shift
    PYTHONPATH="$client" exec python3 "$@"
fi
if (($# == 0)); then
    echo "$root"
    exit
fi
port=$1 between=$2 names=$3
data=$(realpath -m "${4:?which folder}")
mkdir -p "$data"
erlang="$root/usr/lib/erlang"
rabbit=$(echo "$root"/usr/lib/rabbitmq/lib/rabbitmq_server-*)
libraries=$(find "$root/usr/lib" "$root/lib" -name '*.so*' -printf '%h\n' 2>/dev/null | sort -u | paste -sd:)
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export ROOTDIR="$erlang" EMU=beam PROGNAME=erl
BINDIR=$(echo "$erlang"/erts-*/bin)
export BINDIR PATH="$BINDIR:$PATH"
# What nodes find each other by; it ends with this process, as it is a child of it.
export ERL_EPMD_PORT=$names ERL_EPMD_ADDRESS=127.0.0.1
setpriv --pdeathsig KILL epmd -port "$names" -address 127.0.0.1 &
export HOME="$data" ERL_LIBS="$rabbit/plugins"
export RABBITMQ_NODENAME="t$port@localhost" RABBITMQ_NODE_PORT=$port RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_DIST_PORT=$between
export RABBITMQ_BASE="$data" RABBITMQ_MNESIA_BASE="$data/mnesia" RABBITMQ_LOG_BASE="$data/log" RABBITMQ_LOGS=- RABBITMQ_HOME="$rabbit"
export RABBITMQ_ENABLED_PLUGINS_FILE="$data/plugins" RABBITMQ_PLUGINS_DIR="$rabbit/plugins"
export RABBITMQ_CONFIG_FILE="${5:-$data/none}" RABBITMQ_ADVANCED_CONFIG_FILE="$data/none.config" RABBITMQ_CONF_ENV_FILE="$data/none"
# Its threads do not wait busily: they would call sched_yield meanwhile, and Linux lets one that often does wait for all others, so that the
# server stands still for minutes beside two busy processes.
exec "$BINDIR/erlexec" -noinput -pa "$rabbit/plugins/rabbit-"*/ebin -s rabbit boot -boot start_sasl \
    +W w +K true +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_listen_min "$between" \
    -kernel inet_dist_listen_max "$between" -kernel inet_dist_use_interface '{127,0,0,1}' -syslog logger '[]' -syslog syslog_error_logger false
