#!/bin/sh
# Checks that the program compiles without features. If `make demo-build` was run here, also rebuilds and runs the demo, which uses
# that build. With the argument `each`, also checks that the program compiles with each feature alone.
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
	# A job that needs a missing feature fails with an error that names the line and the feature.
	job=$(mktemp)
	printf '[sources.a]\nkind = "kafka"\n[sinks.b]\nfrom = "a"\nkind = "print"\n' >"$job"
	error=$("$target/demo/millstream" validate "$job" 2>&1) && echo "features: a job with kafka is valid without the feature kafka" >&2 && exit 1
	rm "$job"
	case $error in
	*':2: '*'kind `kafka` is not in this build; build with `--features kafka`'*) ;;
	*) printf 'features: unexpected error for a job with kafka:\n%s\n' "$error" >&2 && exit 1 ;;
	esac
fi
[ "${1:-}" = each ] || exit 0
for feature in $(sed -n 's/^default = \[\(.*\)\]$/\1/p' host/Cargo.toml | tr -d '",'); do
	check "$feature"
done
