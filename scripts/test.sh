#!/bin/sh
# The tests, but for those that take long, group by group, two groups side by side: most tests wait more than they compute. It goes on where one
# fails, says at the end how long each took, and fails then. What a group said is in a file, and shown where it failed.
#   scripts/test.sh <the program millstream> <folders of plugins with cases, separated by spaces> [<a group, which it runs and adds to the summary>]
set -u
millstream=$1
plugins=$2
logs=${CARGO_TARGET_DIR:-target}/test-logs

# Runs a command as a group of tests; a line of the summary says how it ended.
group() {
	name=$1
	shift
	began=$(date +%s)
	if "$@" >"$logs/$name.log" 2>&1; then result=passed; else result=FAILED; fi
	took=$(($(date +%s) - began))
	passed=$(awk '/^test result:/ { sum += $4 } END { print sum + 0 }' "$logs/$name.log")
	printf '%-12s %5d s  %5d tests  %s\n' "$name" "$took" "$passed" "$result" >>"$logs/summary"
	if [ "$result" = FAILED ]; then
		printf '\n--- %s failed; all that it said is in %s\n' "$name" "$logs/$name.log"
		# What cargo's harness says of the failures stands behind the list of tests.
		sed -n '/^failures:/,$p; /^error/,$p' "$logs/$name.log" | tail -n 400
	else
		echo "tests: $name passed in $took s"
	fi
}
# A test that hangs is a failure like any other.
cargo_test() {
	timeout 3300 cargo test --release --workspace --no-fail-fast "$@"
}
# Tests that take long are in modules of this name, and `make torture` runs them.
short='--skip ::long::'
cases() {
	wrong=0
	for plugin in $plugins; do
		echo "cases of $plugin"
		"$millstream" test "$plugin" || wrong=1
	done
	return $wrong
}

if [ $# -gt 2 ]; then
	case $3 in
	units) group units cargo_test --lib --bins ;;
	sdk) group sdk cargo_test --test bindings --test worlds --test source ;;
	# Its tests wait for servers, restarts and time limits: three times as many at once as there are cores keep these at work.
	program) group program cargo_test --test program -- $short --test-threads=$((3 * $(nproc))) ;;
	library | toolchains | torture) group "$3" cargo_test --test "$3" -- $short ;;
	examples) group examples cargo_test --doc ;;
	cases) group cases cases ;;
	*) echo "tests: there is no group $3" >&2 && exit 2 ;;
	esac
	exit
fi

rm -rf "$logs"
mkdir -p "$logs"
echo "tests: building them, which takes several minutes the first time"
began=$(date +%s)
cargo_test --no-run || exit 1
printf '%-12s %5d s\n' build $(($(date +%s) - began)) >>"$logs/summary"
# The longest first, so that both rows end at about the same time.
printf '%s\n' toolchains program torture units library examples cases sdk | xargs -P 2 -n 1 "$0" "$millstream" "$plugins"
ran=$?
printf '\n'
cat "$logs/summary"
# A group that did not come to its end has no line.
[ $ran -eq 0 ] && ! grep -q FAILED "$logs/summary"
