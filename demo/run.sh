#!/usr/bin/env bash
# Sends demo/text.txt line by line to a local socket, runs the word count job on it, and prints the totals.
set -euo pipefail
cd "$(dirname "$0")/.."

millstream=${MILLSTREAM:-${CARGO_TARGET_DIR:-target}/release/millstream}
lines_per_second=${DEMO_LINES_PER_SECOND:-400}
# Next to the directory that the job file names, which stays free for your own run.
results=demo/out/book
nc=$(command -v nc.openbsd || command -v nc) || {
    echo "demo: nc is missing; run: make setup" >&2
    exit 1
}
[[ -x $millstream ]] || {
    echo "demo: $millstream is not built; run: make demo" >&2
    exit 1
}

work=$(mktemp -d)
children=()
clean_up() {
    trap '' INT TERM
    for child in "${children[@]}"; do
        kill "$child" 2>/dev/null || true
    done
    wait
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Waits up to two minutes until a line of the file matches the pattern.
wait_for_line() {
    local pattern=$1 file=$2
    for ((tries = 0; tries < 2400; tries++)); do
        grep -q "$pattern" "$file" 2>/dev/null && return
        sleep 0.05
    done
    return 1
}

# Writes the book at this rate after the job has connected. Sleeps 20 times a second, because a shell cannot sleep after each line.
feed() {
    local line count=0 group=$(((lines_per_second + 19) / 20))
    wait_for_line 'Connection received' "$work/nc.log" || return
    while IFS= read -r line; do
        printf '%s\n' "$line"
        ((++count % group)) || sleep 0.05
    done <demo/text.txt
}

# With port 0 the system picks a free port, which nc prints.
mkfifo "$work/lines"
"$nc" -lkv 127.0.0.1 0 <"$work/lines" 2>"$work/nc.log" &
children+=($!)
feed >"$work/lines" 2>/dev/null &
children+=($!)
wait_for_line '^Listening on' "$work/nc.log" || {
    echo "demo: nc does not listen: $(cat "$work/nc.log")" >&2
    exit 1
}
port=$(sed -n 's/^Listening on .* \([0-9][0-9]*\)$/\1/p' "$work/nc.log" | head -n 1)

cat <<END
A book is sent to 127.0.0.1:$port at $lines_per_second lines/s. The job demo/word-count.toml reads it in batches of 1 s. Plugins split
the lines into words and keep the totals. Each table shows the most frequent words of one second.

Watch the job in your browser:
END
# The job does not start if the directory contains results of an earlier run.
rm -rf "$results"
# Logs only warnings and the page's address, so that the address is the last line before the first table.
MILLSTREAM_LOG=${MILLSTREAM_LOG:-warn,millstream::cli::run::page_notice=info} \
    "$millstream" run demo/word-count.toml --until-idle --timeout "${DEMO_TIMEOUT:-45s}" \
    --set "sources.lines.address=127.0.0.1:$port" --set "sinks.results.path=$PWD/$results" &
job=$!
children+=("$job")
wait "$job" || {
    code=$?
    echo "demo: the job failed (exit code $code)" >&2
    exit "$code"
}

# The newest part contains the totals of the complete text. The count is after the last comma of a line.
last=$(find "$results" -name 'part-*.csv' 2>/dev/null | sort | tail -n 1) || true
[[ -n $last ]] || {
    echo "demo: the job wrote no results to $results" >&2
    exit 1
}
echo
echo "The ten most frequent words of the book. The plugin running-count keeps the totals from batch to batch:"
echo
tail -n +2 "$last" | sed 's/^\(.*\),\([0-9]*\)$/\2\t\1/' | sort -k1,1nr -k2 >"$work/totals"
awk -F '\t' 'NR <= 10 { printf "%8d  %s\n", $1, $2 } { words += $1 } END { printf "%8d  words, %d distinct\n", words, NR }' \
    "$work/totals"

cat <<END

Try next, with  export PATH="$(cd "$(dirname "$millstream")" && pwd):\$PATH"

  the job         millstream validate demo/word-count.toml   prints the columns of each stream
  a plugin        millstream inspect plugins/split-words     prints its world, columns, imports and size
  your own text   nc -lk 9999                                in one terminal: type some lines here
                  millstream run demo/word-count.toml        in another: counts them; Ctrl-C stops it
  your own code   millstream new my-plugin --lang rust --world transform
                  millstream build my-plugin && millstream test my-plugin

The totals are in $results, one csv file per batch. README.md has the next steps.
END
