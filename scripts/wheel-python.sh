#!/usr/bin/env bash
# Prints the path of a Python in a fresh environment with a wheel of `millstream`, and with the libraries whose tables tests give it.
#   scripts/wheel-python.sh <the wheel> <folder for environments>
set -euo pipefail
wheel=$(realpath "$1")
mkdir -p "$2"
environments=$(realpath "$2")
cd "$(dirname "$0")"

name="environment-$(sha256sum "$wheel" | cut -c 1-16)"
folder="$environments/$name"
# Of two that begin at once one waits.
exec 9>"$environments/lock"
flock 9
if [[ ! -e $folder/whole ]]; then
    rm -rf "$environments"/environment-*
    base=$(./python.sh)
    "$base" -m venv --without-pip "$folder" >&2
    "$base" -m pip --python "$folder/bin/python" install --quiet --no-input --disable-pip-version-check --no-index --no-deps "$wheel" >&2
    packages=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    { ./pypi.sh dataframes && "$base" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; } >"$packages/of-tests.pth"
    touch "$folder/whole"
fi
echo "$folder/bin/python"
