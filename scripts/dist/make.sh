#!/usr/bin/env bash
# Packages a built program for distribution: a tarball, a Debian package, a container image, and their digests.
#   scripts/dist/make.sh PROGRAM DIR [quick]   `quick` compresses little, for tests
# PROGRAM must run on this machine, to print completions and the manual. FOR=FILE packages a build of PROGRAM for another architecture.
# The same program and commit produce the same bytes.
set -euo pipefail
export LC_ALL=C TZ=UTC
umask 022
program=$(realpath "${1:?missing argument PROGRAM}")
target_program=$(realpath "${FOR:-$program}")
mkdir -p "${2:?missing argument DIR}"
out=$(realpath "$2")
quick=${3:-}
cd "$(dirname "$0")/../.."
here=scripts/dist

# The size limit of each archive.
archive_bytes_max=60000000
# The demo's plugins, which are distributed with it.
plugins=(split-words running-count)

fail() {
    printf 'dist: %s\n' "$@" >&2
    exit 1
}

for tool in objdump readelf strip gzip tar sha256sum; do
    command -v "$tool" >/dev/null || fail "$tool is missing; install binutils, gzip, tar and coreutils"
done
for plugin in "${plugins[@]}"; do
    [[ -e plugins/$plugin/$plugin.wasm ]] || fail "plugins/$plugin is not built; run: make build"
done

printed=$("$program" --version)
version=$(sed -n 's/^millstream \([0-9][^ ]*\)$/\1/p' <<<"$printed")
commit=$(sed -n 's/^commit: //p' <<<"$printed")
[[ -n $version && -n $commit ]] || fail "$program --version prints no version and commit: $printed"
revision=${commit%%,*}
case $(LC_ALL=C readelf -h "$target_program" | sed -n 's/^ *Machine: *//p') in
*X86-64) machine=x86_64 architecture=amd64 ;;
AArch64) machine=aarch64 architecture=arm64 ;;
*) fail "$target_program is for an unsupported architecture; supported: x86_64, aarch64" ;;
esac
# The prefix of the binutils for another architecture.
tools=
[[ $machine == "$(uname -m)" ]] || tools=$machine-linux-gnu-

# All timestamps in the archives are that of the commit, or else a fixed one.
if [[ -z ${SOURCE_DATE_EPOCH:-} ]]; then
    SOURCE_DATE_EPOCH=$(git show --no-patch --format=%ct "$revision" 2>/dev/null) || SOURCE_DATE_EPOCH=946684800
fi
export SOURCE_DATE_EPOCH

# Prints the newest version of the symbols with this prefix that the program needs from its libraries.
newest_version() { "${tools}objdump" -T "$target_program" | grep -o "${1}_[0-9][0-9.]*" | sort -uV | tail -n 1 | cut -d _ -f 2; }
glibc=$(newest_version GLIBC)
gcc=$(newest_version GCC)
[[ -n $glibc && -n $gcc ]] || fail "$target_program is not linked to glibc"

work=$(mktemp -d "$out/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Runs `tar` on the contents of a directory. The output does not depend on the user or the time.
pack() {
    tar --create --directory "$1" --sort=name --format=gnu --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 \
        --numeric-owner "${@:2}"
}

# Level 1 compresses 145 MB to 50 MB in 3 s, level 6 to 45 MB in 9 s; level 9 takes 25 s and saves hardly more.
compress() {
    if [[ -n $quick ]]; then gzip -n -1; else gzip -n -6; fi
}

# Copies the files that every archive contains into a directory like /usr or /usr/local.
stage() {
    local to=$1 shell page
    install -D -m 755 "$work/millstream" "$to/bin/millstream"
    for shell in bash zsh fish; do "$program" completions "$shell" >"$work/$shell"; done
    install -D -m 644 "$work/bash" "$to/share/bash-completion/completions/millstream"
    install -D -m 644 "$work/zsh" "$to/share/zsh/${2:-site-functions}/_millstream"
    install -D -m 644 "$work/fish" "$to/share/fish/vendor_completions.d/millstream.fish"
    mkdir -p "$to/share/man/man1"
    "$program" man-pages "$to/share/man/man1" >/dev/null
    install -D -m 644 "$here/millstream@.service" "$to/lib/systemd/system/millstream@.service"
    install -D -m 644 "$here/sysusers.conf" "$to/lib/sysusers.d/millstream.conf"
}

# Copies the demo: its jobs and text, and its plugins as components, because the source is needed only to build them.
stage_demo() {
    local plugin job
    install -D -m 644 -t "$1/demo" demo/word-count.toml demo/kept.toml demo/text.txt demo/README.md
    for plugin in "${plugins[@]}"; do
        install -D -m 644 -t "$1/plugins" "plugins/$plugin/$plugin.wasm"
        sed -i "s,^plugin = \"../plugins/$plugin\"$,plugin = \"../plugins/$plugin.wasm\"," "$1"/demo/*.toml
    done
    for job in "$1"/demo/*.toml; do
        ! grep '^plugin = ' "$job" | grep -v '\.wasm"$' || fail "$job uses a plugin that is not distributed"
    done
}

"${tools}strip" -o "$work/millstream" "$target_program"
rm -f "$out"/millstream[-_]*"$version"*{"$machine","$architecture"}*
archives=()
# shellcheck source=scripts/dist/tarball.sh
source "$here/tarball.sh"
if command -v dpkg-deb >/dev/null; then
    # shellcheck source=scripts/dist/package.sh
    source "$here/package.sh"
else
    echo "dist: dpkg-deb is missing, so no Debian package is built"
fi
# shellcheck source=scripts/dist/image.sh
source "$here/image.sh"

(cd "$out" && sha256sum millstream[-_]*"$version"*.* >SHA256SUMS)
for archive in "${archives[@]}"; do
    bytes=$(stat -c %s "$out/$archive")
    printf '%5.1f MB  %s\n' "$(awk "BEGIN { print $bytes / 1e6 }")" "$out/$archive"
    [[ -n $quick ]] || ((bytes <= archive_bytes_max)) || fail "$archive is larger than $((archive_bytes_max / 1000000)) MB"
done
