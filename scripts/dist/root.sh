#!/usr/bin/env bash
# Runs a command of a folder that has all the files of a system, and nothing else, by a user without rights. It ends with what
# the command ends with, or with 77 where this machine lets nobody have another root.
# Usage: scripts/dist/root.sh ROOT USER HOME COMMAND…     USER: a number; it may write to HOME, a folder in ROOT
set -euo pipefail
root=$(realpath "$1")
export ROOT=$root ID=$2 HOME=$3
shift 3
cannot=77
mkdir -p "$root/proc" "$root/dev" "$root$HOME"

# What the runtimes of containers give as well.
mounts='mount -t proc proc "$ROOT/proc"'
for device in null zero full random urandom; do
    : >>"$root/dev/$device"
    mounts+=" && mount --bind /dev/$device \"\$ROOT/dev/$device\""
done
if [[ $(id -u) == 0 ]]; then
    namespaces=(--mount --pid --fork --kill-child)
    chown -R "$ID:$ID" "$root$HOME"
    within='exec env -i HOME="$HOME" PATH=/usr/bin "$CHROOT" --userspec="$ID:$ID" --groups= "$ROOT" "$@"'
else
    # In a namespace of our own we are root, and in another one within it that user.
    namespaces=(--user --map-root-user --mount --pid --fork --kill-child)
    within='exec env -i HOME="$HOME" PATH=/usr/bin "$UNSHARE" --user --map-user="$ID" --map-group="$ID" --root="$ROOT" --wd=/ "$@"'
fi
PATH="$PATH:/usr/sbin:/sbin"
UNSHARE=$(command -v unshare) && CHROOT=$(command -v chroot) || exit $cannot
export UNSHARE CHROOT
unshare "${namespaces[@]}" bash -c "$mounts" 2>/dev/null || exit $cannot
exec unshare "${namespaces[@]}" bash -c "$mounts && $within" root.sh "$@"
