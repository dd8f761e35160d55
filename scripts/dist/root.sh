#!/usr/bin/env bash
# Runs a command as an unprivileged user in a root directory that contains all the files of a system. Exits with the command's exit
# code, or with 77 if changing the root is not permitted here.
#   scripts/dist/root.sh ROOT USER HOME COMMAND…   USER: a number; it can write to HOME, a directory in ROOT
set -euo pipefail
root=$(realpath "$1")
export ROOT=$root ID=$2 HOME=$3
shift 3
not_permitted=77
mkdir -p "$root/proc" "$root/dev" "$root$HOME"

# Mounts that container runtimes provide as well.
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
    # Root in a new user namespace, then USER in a second one inside it.
    namespaces=(--user --map-root-user --mount --pid --fork --kill-child)
    within='exec env -i HOME="$HOME" PATH=/usr/bin "$UNSHARE" --user --map-user="$ID" --map-group="$ID" --root="$ROOT" --wd=/ "$@"'
fi
PATH="$PATH:/usr/sbin:/sbin"
UNSHARE=$(command -v unshare) && CHROOT=$(command -v chroot) || exit $not_permitted
export UNSHARE CHROOT
unshare "${namespaces[@]}" bash -c "$mounts" 2>/dev/null || exit $not_permitted
exec unshare "${namespaces[@]}" bash -c "$mounts && $within" root.sh "$@"
