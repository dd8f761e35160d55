#!/usr/bin/env bash
# Builds and tests the library for Flink, on a real cluster of Flink in the test's process. Flink, Arrow and JUnit are fetched from Maven
# Central the first time, and kept outside the checkout.
#   scripts/flink.sh MILLSTREAM [ARGUMENT…]   arguments of mvn; without any: package, which runs the tests
set -euo pipefail

program=$(realpath "${1:?which millstream}")
shift
(($#)) || set -- package
root=$(cd "$(dirname "$0")/.." && pwd)
caches="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/millstream/servers"
command -v mvn >/dev/null || { echo "setup: no Maven (mvn) to build the library for Flink with; scripts/setup.sh tests installs it" >&2 && exit 1; }

components=$("$root/scripts/conformance.sh" "$program" types split reject columns failing totals written spread mean)
cases=$(mktemp)
trap 'rm -f "$cases"' EXIT
python3 "$root/sdk/flink/src/test/python/cases.py" "$root/tests/conformance" $components >"$cases"
MILLSTREAM="$program" MILLSTREAM_ROOT="$root" MILLSTREAM_CASES="$cases" \
    mvn --quiet --batch-mode -Dstyle.color=never --strict-checksums --file "$root/sdk/flink/pom.xml" \
    -Dmaven.repo.local="$caches/flink-2.3.0/repository" "$@"
