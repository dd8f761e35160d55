#!/usr/bin/env bash
# Runs a RabbitMQ server on ports of 127.0.0.1, in the foreground. If it is missing, downloads its Debian packages and unpacks them
# without installing them. Clients log in as `guest` with the password `guest`.
#   scripts/rabbitmq.sh PORT DIST_PORT EPMD_PORT DIR [CONFIG]   clients use PORT for AMQP; DIR keeps the data, even if the server is
#                                                               killed; CONFIG: a file in the format of rabbitmq.conf
#   scripts/rabbitmq.sh client PROGRAM.py [ARGUMENT…]           runs a Python program with a RabbitMQ client (pika, from PyPI)
#   scripts/rabbitmq.sh                                         only downloads both, and prints the directory of the server
set -euo pipefail
root=$("$(dirname "$0")/debian.sh" rabbitmq-server)
client=$("$(dirname "$0")/pypi.sh" pika)
if [[ ${1:-} == client ]]; then
    shift
    PYTHONPATH="$client" exec python3 "$@"
fi
if (($# == 0)); then
    echo "$root"
    exit
fi
port=$1 dist_port=$2 epmd_port=$3
data=$(realpath -m "${4:?missing argument DIR}")
mkdir -p "$data"
erlang="$root/usr/lib/erlang"
rabbit=$(echo "$root"/usr/lib/rabbitmq/lib/rabbitmq_server-*)
libraries=$(find "$root/usr/lib" "$root/lib" -name '*.so*' -printf '%h\n' 2>/dev/null | sort -u | paste -sd:)
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export ROOTDIR="$erlang" EMU=beam PROGNAME=erl
BINDIR=$(echo "$erlang"/erts-*/bin)
export BINDIR PATH="$BINDIR:$PATH"
# The Erlang port mapper. It is killed when this process, its parent, exits.
export ERL_EPMD_PORT=$epmd_port ERL_EPMD_ADDRESS=127.0.0.1
setpriv --pdeathsig KILL epmd -port "$epmd_port" -address 127.0.0.1 &
export HOME="$data" ERL_LIBS="$rabbit/plugins"
export RABBITMQ_NODENAME="t$port@localhost" RABBITMQ_NODE_PORT=$port RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_DIST_PORT=$dist_port
export RABBITMQ_BASE="$data" RABBITMQ_MNESIA_BASE="$data/mnesia" RABBITMQ_LOG_BASE="$data/log" RABBITMQ_LOGS=- RABBITMQ_HOME="$rabbit"
export RABBITMQ_ENABLED_PLUGINS_FILE="$data/plugins" RABBITMQ_PLUGINS_DIR="$rabbit/plugins"
export RABBITMQ_CONFIG_FILE="${5:-$data/none}" RABBITMQ_ADVANCED_CONFIG_FILE="$data/none.config" RABBITMQ_CONF_ENV_FILE="$data/none"
# Dies with the thread that started it, and removes its data.
with_parent=()
if [[ -n ${RABBITMQ_SHARED:-} ]]; then
    with_parent=(setpriv --pdeathsig KILL)
    (
        while kill -0 $$ 2>/dev/null; do sleep 1; done
        rm -rf "$data"
    ) >/dev/null 2>&1 </dev/null &
fi
# +sbwt*: the server's threads do not busy-wait. While they do, they call sched_yield, and Linux then runs all other processes first:
# next to two busy processes the server would stop for minutes.
exec "${with_parent[@]}" "$BINDIR/erlexec" -noinput -pa "$rabbit/plugins/rabbit-"*/ebin -s rabbit boot -boot start_sasl \
    +W w +K true +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_listen_min "$dist_port" \
    -kernel inet_dist_listen_max "$dist_port" -kernel inet_dist_use_interface '{127,0,0,1}' -syslog logger '[]' -syslog syslog_error_logger false
