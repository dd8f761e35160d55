#!/usr/bin/env bash
# Prints the path of a Python in a new environment with a wheel of `millstream` and the dataframe libraries that tests use with it.
#   scripts/wheel-python.sh WHEEL DIR   DIR: where to create environments
set -euo pipefail
wheel=$(realpath "$1")
mkdir -p "$2"
environments=$(realpath "$2")
cd "$(dirname "$0")"

name="environment-$(sha256sum "$wheel" | cut -c 1-16)"
dir="$environments/$name"
# Of two scripts that start at the same time, one waits.
exec 9>"$environments/lock"
flock 9
if [[ ! -e $dir/complete ]]; then
    rm -rf "$environments"/environment-*
    base=$(./python.sh)
    "$base" -m venv --without-pip "$dir" >&2
    "$base" -m pip --python "$dir/bin/python" install --quiet --no-input --disable-pip-version-check --no-index --no-deps "$wheel" >&2
    packages=$("$dir/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    { ./pypi.sh dataframes && "$base" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; } >"$packages/of-tests.pth"
    touch "$dir/complete"
fi
echo "$dir/bin/python"
