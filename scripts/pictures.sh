#!/usr/bin/env bash
# Makes the pictures of docs/how-to/monitor.md: a real browser looks at the page of the demo while it runs.
#   scripts/pictures.sh [FOLDER]   into docs/pictures where no other is named; `make pictures` builds what it needs
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-docs/pictures}
bytes_max=61440
mapfile -t tools < <(scripts/browser.sh)
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

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

order() { printf '{"do":"%s",%s}\n' "$1" "$2"; }
# Opens the page as a browser of its own, at this size, in light or dark.
look() {
    order open "\"url\":\"$address\",\"width\":$1,\"height\":$2,\"dark\":$3"
    # Where the job file lies is of no interest to others.
    order evaluate "\"at\":$4,"'"code":"{ const s = new CSSStyleSheet(); s.replaceSync(\".title .small { display: none }\"); document.adoptedStyleSheets = [s]; 0 }"'
}
picture() { order picture "\"at\":$1,\"path\":\"$folder/$2.png\""; }
{
    look 1000 700 false 0
    look 1000 840 false 1
    look 1000 700 true 2
    look 390 700 false 3
    order until '"selector":"#content","pattern":"1[6-9] committed"'
    picture 0 job
    picture 2 dark
    picture 3 phone
    order click '"selector":".graph a[href$=\"stage/words\"]"'
    order until '"selector":"#content","pattern":"Plugin split-words"'
    picture 0 stage
    order click '"at":1,"selector":"#tabs a:nth-child(2)"'
    order click '"at":1,"selector":"#content tbody tr:nth-child(8) a"'
    order until '"at":1,"selector":"#content","pattern":"Timeline of batch"'
    order evaluate '"at":1,"code":"scrollTo(0, 0)"'
    picture 1 batches
} | "${tools[0]}" tests/page/driver.js "${tools[1]}" "${tools[2]}" >"$work/answers"
! grep '"error"' "$work/answers" >&2 || exit 1
for picture in job stage batches dark phone; do
    bytes=$(stat -c %s "$folder/$picture.png")
    echo "$folder/$picture.png: $bytes bytes"
    ((bytes <= bytes_max)) || { echo "pictures: $picture.png is larger than $bytes_max bytes" >&2 && exit 1; }
done
