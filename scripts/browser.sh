#!/usr/bin/env bash
# Prints the paths of Node, of a Chromium and of the folder of packages that drive it (tests/page), a line each. The browser is the
# machine's own or Debian's; what is missing is fetched, into folders outside the checkout.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
wanted="$here/../tests/page"
caches="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/millstream"
packages="$caches/browser-$(cat "$wanted/package.json" "$wanted/package-lock.json" | sha256sum | cut -c 1-12)"
fetch_seconds_max=300

# `millstream doctor --install` puts Node where no shell looks.
PATH="$PATH:$caches/tools/node/bin"
fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}
node=$(command -v node) || fail "no Node (node) to drive a browser with" "Install Node 18 or newer, or try \`millstream doctor --install\`."

# A program that finds the libraries that were unpacked beside it.
launcher() {
    local folder libraries
    folder=$("$here/debian.sh" chromium chromium-common)
    libraries=$(find "$folder/usr/lib" "$folder/lib" -name '*.so*' -printf '%h\n' 2>/dev/null | grep -v '/lib/chromium' | sort -u | paste -sd:)
    if [[ ! -x $folder/chromium ]]; then
        printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s/usr/lib/chromium/chromium" "$@"\n' "$libraries" "$folder" >"$folder/chromium.$$"
        chmod +x "$folder/chromium.$$"
        mv "$folder/chromium.$$" "$folder/chromium"
    fi
    echo "$folder/chromium"
}

if [[ ! -d $packages ]]; then
    mkdir -p "$caches"
    # Of two that begin at once, one waits and finds what the other has fetched.
    exec 9>"$packages.lock"
    flock 9
    if [[ ! -d $packages ]]; then
        npm=$(command -v npm) || fail "no npm beside $node" "Install it, or try \`millstream doctor --install\`."
        echo "setup: fetching what drives a browser, into $packages" >&2
        rm -rf "$packages.part"
        mkdir -p "$packages.part"
        cp "$wanted/package.json" "$wanted/package-lock.json" "$packages.part"
        # What is pinned, by its digests, and nothing of it is run.
        (cd "$packages.part" && timeout "$fetch_seconds_max" "$npm" ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2) ||
            fail "npm could not fetch what tests/page/package-lock.json pins; see above"
        mv "$packages.part" "$packages"
    fi
    exec 9>&-
fi
browser=$(command -v chromium) || browser=$(launcher)
printf '%s\n' "$node" "$browser" "$packages/node_modules"
