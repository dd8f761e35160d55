#!/bin/sh
# Runs all tests except the long ones in groups, two groups in parallel, because most tests wait more than they compute. If a group fails,
# prints its failures and continues with the others. At the end prints the duration and result of each group, and fails if one failed.
# The output of each group is in a file below the target directory.
#   scripts/test.sh MILLSTREAM PLUGINS [GROUP]   PLUGINS: directories of plugins with cases, separated by spaces;
#                                                GROUP: runs only this group, and appends it to the summary
set -u
millstream=$1
plugins=$2
logs=${CARGO_TARGET_DIR:-target}/test-logs

# Runs a command as a test group, and appends its duration and result to the summary.
run_group() {
	name=$1
	shift
	start=$(date +%s)
	if "$@" >"$logs/$name.log" 2>&1; then result=passed; else result=FAILED; fi
	took=$(($(date +%s) - start))
	passed=$(awk '/^test result:/ { sum += $4 } END { print sum + 0 }' "$logs/$name.log")
	printf '%-12s %5d s  %5d tests  %s\n' "$name" "$took" "$passed" "$result" >>"$logs/summary"
	if [ "$result" = FAILED ]; then
		printf '\n--- %s failed; its complete output is in %s\n' "$name" "$logs/$name.log"
		# Cargo's test harness prints the failures after the list of tests.
		sed -n '/^failures:/,$p; /^error/,$p' "$logs/$name.log" | tail -n 400
	else
		echo "tests: $name passed in $took s"
	fi
}
# The timeout makes a test that hangs fail.
cargo_test() {
	timeout 3300 cargo test --release --workspace --no-fail-fast "$@"
}
# Long tests are in modules named `long`; `make torture` runs them.
short='--skip ::long::'
plugin_cases() {
	failed=0
	for plugin in $plugins; do
		echo "cases of $plugin"
		"$millstream" test "$plugin" || failed=1
	done
	return $failed
}

if [ $# -gt 2 ]; then
	case $3 in
	units) run_group units cargo_test --lib --bins ;;
	sdk) run_group sdk cargo_test --test bindings --test worlds --test source ;;
	# These tests wait for servers, restarts and time limits: three tests per core keep the cores busy.
	program) run_group program cargo_test --test program -- $short --test-threads=$((3 * $(nproc))) ;;
	library | toolchains | torture) run_group "$3" cargo_test --test "$3" -- $short ;;
	examples) run_group examples cargo_test --doc ;;
	cases) run_group cases plugin_cases ;;
	*) echo "tests: unknown group $3" >&2 && exit 2 ;;
	esac
	exit
fi

rm -rf "$logs"
mkdir -p "$logs"
echo "tests: building; the first build takes several minutes"
start=$(date +%s)
cargo_test --no-run || exit 1
printf '%-12s %5d s\n' build $(($(date +%s) - start)) >>"$logs/summary"
# Longest first, so that both parallel queues end at about the same time.
printf '%s\n' toolchains program torture units library examples cases sdk | xargs -P 2 -n 1 "$0" "$millstream" "$plugins"
exit_code=$?
printf '\n'
cat "$logs/summary"
# A group that was interrupted has no line in the summary, so the exit code is checked as well.
[ $exit_code -eq 0 ] && ! grep -q FAILED "$logs/summary"
