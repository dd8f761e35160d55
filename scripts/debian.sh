#!/usr/bin/env bash
# Prints a directory with unpacked Debian packages and those of their dependencies that this machine lacks. Downloads them if they are
# missing, outside the checkout. Installs nothing, so it does not need root.
#   scripts/debian.sh [--alone] PACKAGE…   the directory has the name of the first package; --alone: no dependencies
set -euo pipefail
alone=
[[ ${1:-} != --alone ]] || { alone=yes && shift; }
: "${1:?missing argument PACKAGE}"

caches="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/millstream/servers"
dir="$caches/$1-of-debian"
fetch_seconds_max=900

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

# Downloads the packages, even if they are installed, and their dependencies that are not installed. `-s` only simulates the
# installation, to list them.
download() {
    local plan="" packages
    [[ $alone ]] || plan=$(apt-get -s --no-install-recommends install "$@") || return 1
    mapfile -t packages < <({ printf '%s\n' "$@" && awk '$1 == "Inst" { print $2 }' <<<"$plan"; } | sort -u)
    # By default apt downloads as user `_apt`, who may not write to this directory.
    timeout "$fetch_seconds_max" apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}"
}

# Updates the package lists, which may be outdated or missing.
update_lists() {
    local root=()
    if [[ $(id -u) != 0 ]]; then
        command -v sudo >/dev/null || return 1
        root=(sudo -n)
    fi
    "${root[@]}" apt-get -qq -o DPkg::Lock::Timeout=300 update
}

# Downloads into a temporary directory and renames it at the end, so that an interrupted download never looks complete.
fetch() {
    local part="$dir.part" package
    rm -rf "$part"
    mkdir -p "$part/packages"
    cd "$part/packages"
    download "$@" >&2 || { update_lists >&2 && download "$@" >&2; } || return 1
    for package in ./*.deb; do dpkg -x "$package" .. >&2 || return 1; done
    cd /
    rm -rf "$part/packages"
    mv "$part" "$dir"
}

if [[ ! -d $dir ]]; then
    mkdir -p "$caches"
    # Of two scripts that start at the same time, one waits and then uses what the other has downloaded.
    exec 9>"$dir.lock"
    flock 9
    if [[ ! -d $dir ]]; then
        { command -v apt-get && command -v dpkg; } >/dev/null || fail "missing: $*" \
            "This is a Debian package, and apt-get is missing here. Install the programs of that package."
        echo "setup: fetching $1 from Debian, into $dir" >&2
        (fetch "$@") || fail "apt-get could not download $1; see above" "Run \`apt-get update\` as root, then try again."
    fi
    exec 9>&-
fi
echo "$dir"
