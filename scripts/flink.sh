#!/usr/bin/env bash
# Builds the Flink library and tests it on a Flink cluster in the test process. Maven downloads Flink, Arrow and JUnit once and keeps
# them outside the checkout.
#   scripts/flink.sh MILLSTREAM [ARGUMENT…]   arguments of mvn; by default `package`, which runs the tests
set -euo pipefail

program=$(realpath "${1:?missing argument MILLSTREAM}")
shift
(($#)) || set -- package
root=$(cd "$(dirname "$0")/.." && pwd)
caches="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/millstream/servers"
command -v mvn >/dev/null || { echo "setup: Maven (mvn) is missing, which builds the Flink library; run: scripts/setup.sh tests" >&2 && exit 1; }

components=$("$root/scripts/conformance.sh" "$program" types split reject columns failing totals written spread mean)
cases=$(mktemp)
trap 'rm -f "$cases"' EXIT
python3 "$root/sdk/flink/src/test/python/cases.py" "$root/tests/conformance" $components >"$cases"
MILLSTREAM="$program" MILLSTREAM_ROOT="$root" MILLSTREAM_CASES="$cases" \
    mvn --quiet --batch-mode -Dstyle.color=never --strict-checksums --file "$root/sdk/flink/pom.xml" \
    -Dmaven.repo.local="$caches/flink-2.3.0/repository" "$@"
