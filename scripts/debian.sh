#!/usr/bin/env bash
# Prints a folder with programs of Debian, unpacked outside the checkout with the libraries that this machine lacks. Fetches them
# where they are missing; nothing is installed, so it needs no superuser.
# Usage: scripts/debian.sh [--alone] PACKAGE…   (the first one's name is the folder's; --alone: without what they need)
set -euo pipefail
alone=
[[ ${1:-} != --alone ]] || { alone=yes && shift; }
: "${1:?which packages}"

caches="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/millstream/servers"
folder="$caches/$1-of-debian"
fetch_seconds_max=900

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

# The packages themselves, whether installed or not, and what they need that is not. `-s`: it only says what would be done.
download() {
    local plan="" packages
    [[ $alone ]] || plan=$(apt-get -s --no-install-recommends install "$@") || return 1
    mapfile -t packages < <({ printf '%s\n' "$@" && awk '$1 == "Inst" { print $2 }' <<<"$plan"; } | sort -u)
    # As `_apt`, apt would need a folder that this user may write to.
    timeout "$fetch_seconds_max" apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}"
}

# What is known of packages may be out of date or missing.
look_again() {
    local root=()
    if [[ $(id -u) != 0 ]]; then
        command -v sudo >/dev/null || return 1
        root=(sudo -n)
    fi
    "${root[@]}" apt-get -qq -o DPkg::Lock::Timeout=300 update
}

# Into a folder that gets its name only when it is whole: who is interrupted leaves nothing that looks finished.
fetch() {
    local part="$folder.part" package
    rm -rf "$part"
    mkdir -p "$part/packages"
    cd "$part/packages"
    download "$@" >&2 || { look_again >&2 && download "$@" >&2; } || return 1
    for package in ./*.deb; do dpkg -x "$package" .. >&2 || return 1; done
    cd /
    rm -rf "$part/packages"
    mv "$part" "$folder"
}

if [[ ! -d $folder ]]; then
    mkdir -p "$caches"
    # Of two that begin at once, one waits and finds what the other has fetched.
    exec 9>"$folder.lock"
    flock 9
    if [[ ! -d $folder ]]; then
        { command -v apt-get && command -v dpkg; } >/dev/null || fail "missing: $*" \
            "This is a name of Debian, and there is no apt-get here. Install what it holds."
        echo "setup: fetching $1 of Debian, into $folder" >&2
        (fetch "$@") || fail "apt-get could not download $1; see above" "Try \`apt-get update\` as root, then again."
    fi
    exec 9>&-
fi
echo "$folder"
