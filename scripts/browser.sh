#!/usr/bin/env bash
# Prints three paths, one per line: Node, Chromium, and the directory of the npm packages that drive it (tests/page). If the machine
# has no Chromium, uses Debian's. Downloads what is missing into directories outside the checkout.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
manifests="$here/../tests/page"
caches="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/millstream"
packages="$caches/browser-$(cat "$manifests/package.json" "$manifests/package-lock.json" | sha256sum | cut -c 1-12)"
fetch_seconds_max=300

# `millstream doctor --install` installs Node into a directory that is not in PATH.
PATH="$PATH:$caches/tools/node/bin"
fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}
node=$(command -v node) || fail "Node (node) is missing; it drives the browser" "Install Node 18 or newer, or try \`millstream doctor --install\`."

# Prints the path of a script that starts Debian's Chromium with the libraries that were unpacked with it. Downloads both if missing.
chromium_launcher() {
    local dir libraries
    dir=$("$here/debian.sh" chromium chromium-common)
    libraries=$(find "$dir/usr/lib" "$dir/lib" -name '*.so*' -printf '%h\n' 2>/dev/null | grep -v '/lib/chromium' | sort -u | paste -sd:)
    if [[ ! -x $dir/chromium ]]; then
        printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s/usr/lib/chromium/chromium" "$@"\n' "$libraries" "$dir" >"$dir/chromium.$$"
        chmod +x "$dir/chromium.$$"
        mv "$dir/chromium.$$" "$dir/chromium"
    fi
    echo "$dir/chromium"
}

if [[ ! -d $packages ]]; then
    mkdir -p "$caches"
    # Of two scripts that start at the same time, one waits and then uses what the other has downloaded.
    exec 9>"$packages.lock"
    flock 9
    if [[ ! -d $packages ]]; then
        npm=$(command -v npm) || fail "npm is missing next to $node" "Install it, or try \`millstream doctor --install\`."
        echo "setup: fetching the npm packages that drive the browser, into $packages" >&2
        rm -rf "$packages.part"
        mkdir -p "$packages.part"
        cp "$manifests/package.json" "$manifests/package-lock.json" "$packages.part"
        # Installs the pinned versions and checks their digests; install scripts do not run.
        (cd "$packages.part" && timeout "$fetch_seconds_max" "$npm" ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2) ||
            fail "npm could not install the packages of tests/page/package-lock.json; see above"
        mv "$packages.part" "$packages"
    fi
    exec 9>&-
fi
browser=$(command -v chromium) || browser=$(chromium_launcher)
printf '%s\n' "$node" "$browser" "$packages/node_modules"
