#!/usr/bin/env bash
# Makes what can be given away of a program that is built: a tarball, a Debian package, an image, and their digests.
# Usage: scripts/dist/make.sh PROGRAM FOLDER [quick]
# FOR=FILE packs this program, which is PROGRAM for another machine: PROGRAM runs here and prints completions and the manual.
# The same program and commit make the same bytes. `quick` compresses little, for tests.
set -euo pipefail
export LC_ALL=C TZ=UTC
umask 022
program=$(realpath "${1:?which program}")
packed=$(realpath "${FOR:-$program}")
mkdir -p "${2:?which folder}"
out=$(realpath "$2")
quick=${3:-}
cd "$(dirname "$0")/../.."
here=scripts/dist

# No archive may be larger.
archive_bytes_max=60000000
# The demo's plugins, which are given away with it.
plugins=(split-words running-count)

fail() {
    printf 'dist: %s\n' "$@" >&2
    exit 1
}

for tool in objdump readelf strip gzip tar sha256sum; do
    command -v "$tool" >/dev/null || fail "no $tool here; install binutils, gzip, tar and coreutils"
done
for plugin in "${plugins[@]}"; do
    [[ -e plugins/$plugin/$plugin.wasm ]] || fail "plugins/$plugin is not built; run: make build"
done

told=$("$program" --version)
version=$(sed -n 's/^millstream \([0-9][^ ]*\)$/\1/p' <<<"$told")
commit=$(sed -n 's/^commit: //p' <<<"$told")
[[ -n $version && -n $commit ]] || fail "$program --version says no version and commit: $told"
revision=${commit%%,*}
case $(LC_ALL=C readelf -h "$packed" | sed -n 's/^ *Machine: *//p') in
*X86-64) machine=x86_64 architecture=amd64 ;;
AArch64) machine=aarch64 architecture=arm64 ;;
*) fail "$packed is for a machine that nothing here packs for" ;;
esac
# The tools of another machine's compiler.
tools=
[[ $machine == "$(uname -m)" ]] || tools=$machine-linux-gnu-

# All times in the archives are that of the commit, or one that is the same for everybody.
if [[ -z ${SOURCE_DATE_EPOCH:-} ]]; then
    SOURCE_DATE_EPOCH=$(git show --no-patch --format=%ct "$revision" 2>/dev/null) || SOURCE_DATE_EPOCH=946684800
fi
export SOURCE_DATE_EPOCH

# The newest version of these symbols that the program asks its libraries for.
newest() { "${tools}objdump" -T "$packed" | grep -o "${1}_[0-9][0-9.]*" | sort -uV | tail -n 1 | cut -d _ -f 2; }
glibc=$(newest GLIBC)
gcc=$(newest GCC)
[[ -n $glibc && -n $gcc ]] || fail "$packed is not linked to glibc"

work=$(mktemp -d "$out/.making.XXXXXX")
trap 'rm -rf "$work"' EXIT

# `tar` of what is in a folder, the same bytes whoever calls it and whenever.
pack() {
    tar --create --directory "$1" --sort=name --format=gnu --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 \
        --numeric-owner "${@:2}"
}

# Of 145 MB, level 1 makes 50 in 3 s, level 6 makes 45 in 9 s, and level 9 hardly less in 25 s.
compress() {
    if [[ -n $quick ]]; then gzip -n -1; else gzip -n -6; fi
}

# What every archive has, as it lies below /usr/local or /usr.
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

# The demo's jobs and its text, and its plugins as components: a plugin's folder is for those who build it.
stage_demo() {
    local plugin job
    install -D -m 644 -t "$1/demo" demo/word-count.toml demo/kept.toml demo/text.txt demo/README.md
    for plugin in "${plugins[@]}"; do
        install -D -m 644 -t "$1/plugins" "plugins/$plugin/$plugin.wasm"
        sed -i "s,^plugin = \"../plugins/$plugin\"$,plugin = \"../plugins/$plugin.wasm\"," "$1"/demo/*.toml
    done
    for job in "$1"/demo/*.toml; do
        ! grep '^plugin = ' "$job" | grep -v '\.wasm"$' || fail "$job names a plugin that is not given away"
    done
}

"${tools}strip" -o "$work/millstream" "$packed"
rm -f "$out"/millstream[-_]*"$version"*{"$machine","$architecture"}*
made=()
# shellcheck source=scripts/dist/tarball.sh
source "$here/tarball.sh"
if command -v dpkg-deb >/dev/null; then
    # shellcheck source=scripts/dist/package.sh
    source "$here/package.sh"
else
    echo "dist: no dpkg-deb here, so no Debian package is made"
fi
# shellcheck source=scripts/dist/image.sh
source "$here/image.sh"

(cd "$out" && sha256sum millstream[-_]*"$version"*.* >SHA256SUMS)
for archive in "${made[@]}"; do
    bytes=$(stat -c %s "$out/$archive")
    printf '%5.1f MB  %s\n' "$(awk "BEGIN { print $bytes / 1e6 }")" "$out/$archive"
    [[ -n $quick ]] || ((bytes <= archive_bytes_max)) || fail "$archive is larger than $((archive_bytes_max / 1000000)) MB"
done
