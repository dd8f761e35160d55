#!/bin/sh
# Checks that the program compiles without any of its features, as the demo needs it; where the demo was built here, it is built again
# and run. With `each`, that it compiles with each feature alone, too.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
log=$target/features.log
mkdir -p "$target"

check() {
	echo "features: ${1:-none}"
	if ! cargo check --profile demo --package millstream --no-default-features --features "${1:-}" >"$log" 2>&1; then
		cat "$log" >&2
		exit 1
	fi
}

check ""
if [ -e "$target/demo/millstream" ]; then
	make demo-build
	MILLSTREAM=$target/demo/millstream DEMO_LINES_PER_SECOND=4000 demo/run.sh
fi
[ "${1:-}" = each ] || exit 0
for feature in $(sed -n 's/^default = \[\(.*\)\]$/\1/p' host/Cargo.toml | tr -d '",'); do
	check "$feature"
done
