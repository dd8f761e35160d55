#!/usr/bin/env bash
# Takes the screenshots of docs/how-to/monitor.md: opens the demo's page in a browser while the demo runs.
#   scripts/pictures.sh [DIR]   DIR: where to write them, docs/pictures by default; `make pictures` builds the demo first
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${1:-docs/pictures}
bytes_max=61440
mapfile -t tools < <(scripts/browser.sh)
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

work=$(mktemp -d)
DEMO_LINES_PER_SECOND=${DEMO_LINES_PER_SECOND:-150} demo/run.sh >"$work/demo.log" 2>&1 &
demo=$!
trap 'kill "$demo" 2>/dev/null || true; wait "$demo" 2>/dev/null || true; rm -rf "$work"' EXIT
address=
for ((tries = 0; tries < 600; tries++)); do
    address=$(sed -n 's/.*page: \(http:[^ ]*\).*/\1/p' "$work/demo.log" | head -n 1)
    [[ -z $address ]] || break
    sleep 0.1
done
[[ $address ]] || { cat "$work/demo.log" >&2 && exit 1; }

send_command() { printf '{"do":"%s",%s}\n' "$1" "$2"; }
# Opens the page in a new window with this width and height, in dark mode if `true`, and hides the path of the job file.
open_page() {
    send_command open "\"url\":\"$address\",\"width\":$1,\"height\":$2,\"dark\":$3"
    send_command evaluate "\"at\":$4,"'"code":"{ const s = new CSSStyleSheet(); s.replaceSync(\".title .small { display: none }\"); document.adoptedStyleSheets = [s]; 0 }"'
}
screenshot() { send_command picture "\"at\":$1,\"path\":\"$dir/$2.png\""; }
{
    open_page 1000 700 false 0
    open_page 1000 840 false 1
    open_page 1000 700 true 2
    open_page 390 700 false 3
    send_command until '"selector":"#content","pattern":"1[6-9] committed"'
    screenshot 0 job
    screenshot 2 dark
    screenshot 3 phone
    send_command click '"selector":".graph a[href$=\"stage/words\"]"'
    send_command until '"selector":"#content","pattern":"Plugin split-words"'
    screenshot 0 stage
    send_command click '"at":1,"selector":"#tabs a:nth-child(2)"'
    send_command click '"at":1,"selector":"#content tbody tr:nth-child(8) a"'
    send_command until '"at":1,"selector":"#content","pattern":"Timeline of batch"'
    send_command evaluate '"at":1,"code":"scrollTo(0, 0)"'
    screenshot 1 batches
} | "${tools[0]}" tests/page/driver.js "${tools[1]}" "${tools[2]}" >"$work/replies"
! grep '"error"' "$work/replies" >&2 || exit 1
for picture in job stage batches dark phone; do
    bytes=$(stat -c %s "$dir/$picture.png")
    echo "$dir/$picture.png: $bytes bytes"
    ((bytes <= bytes_max)) || { echo "pictures: $picture.png is larger than $bytes_max bytes" >&2 && exit 1; }
done
