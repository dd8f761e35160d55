#!/bin/sh
# All tests, group by group. It goes on where one fails, says at the end how long each took, and fails then.
#   scripts/test.sh <the program millstream> <folders of plugins with cases, separated by spaces>
set -u
millstream=$1
plugins=$2
summary=""
failed=0
group() {
	name=$1
	shift
	began=$(date +%s)
	if "$@"; then result=passed; else result=FAILED failed=1; fi
	took=$(($(date +%s) - began))
	summary="$summary$(printf '%-12s %4d s  %s' "$name" "$took" "$result")
"
}
cargo_test() {
	cargo test --release --workspace --no-fail-fast "$@"
}
cases() {
	wrong=0
	for plugin in $plugins; do
		echo "cases of $plugin"
		"$millstream" test "$plugin" || wrong=1
	done
	return $wrong
}
group build cargo_test --no-run
group units cargo_test --lib --bins
group sdk cargo_test --test bindings --test worlds
group examples cargo_test --doc
group library cargo_test --test library
group program cargo_test --test program
group toolchains cargo_test --test toolchains
group torture cargo_test --test torture
group cases cases
printf '\n%s' "$summary"
exit $failed
