#!/usr/bin/env bash
# Lets this machine run programs for another one: scripts/emulator.sh aarch64-unknown-linux-gnu
# Registers qemu with the kernel, so that a program can start itself again, and links the other machine's C libraries, which scripts/cross.sh
# installed, to where its loader looks for them. Needs root.
set -euo pipefail

target=${1:?missing argument TARGET, for example aarch64-unknown-linux-gnu}

fail() {
    echo "emulator: $1" >&2
    exit 1
}

case $target in
aarch64-unknown-linux-gnu)
    name=qemu-aarch64 gnu=aarch64-linux-gnu loader=/lib/ld-linux-aarch64.so.1
    magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
    mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    ;;
*) fail "unknown target $target; known: aarch64-unknown-linux-gnu" ;;
esac

# On that machine itself there is nothing to emulate.
[[ $(uname -m) != "${target%%-*}" ]] || exit 0

formats=/proc/sys/fs/binfmt_misc
if [[ ! -e $formats/$name ]]; then
    [[ $(id -u) == 0 ]] || fail "root must register $name; run: sudo scripts/emulator.sh $target"
    [[ -e $formats/register ]] || mount -t binfmt_misc binfmt_misc "$formats" || fail "the kernel has no binfmt_misc"
    # F: the kernel opens the emulator now, so programs in containers find it, too.
    printf '%s' ":$name:M::$magic:$mask:/usr/bin/$name-static:F" >"$formats/register" || fail "cannot register $name"
fi
[[ -e $loader ]] || ln -s "/usr/$gnu/lib/$(basename "$loader")" "$loader"
mkdir -p "/usr/lib/$gnu"
for library in libc.so.6 libgcc_s.so.1 libm.so.6; do
    [[ -e /usr/lib/$gnu/$library ]] || ln -s "/usr/$gnu/lib/$library" "/usr/lib/$gnu/$library"
done
