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
	# What is not there is refused by name, at its line.
	job=$(mktemp)
	printf '[sources.a]\nkind = "kafka"\n[sinks.b]\nfrom = "a"\nkind = "print"\n' >"$job"
	refused=$("$target/demo/millstream" validate "$job" 2>&1) && echo "features: a job with kafka is valid" >&2 && exit 1
	rm "$job"
	case $refused in
	*':2: '*'kind `kafka` is not in this build; build with `--features kafka`'*) ;;
	*) printf 'features: a job with kafka is refused so:\n%s\n' "$refused" >&2 && exit 1 ;;
	esac
fi
[ "${1:-}" = each ] || exit 0
for feature in $(sed -n 's/^default = \[\(.*\)\]$/\1/p' host/Cargo.toml | tr -d '",'); do
	check "$feature"
done
