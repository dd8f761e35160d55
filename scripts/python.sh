#!/usr/bin/env bash
# Prints the path of a Python with the packages that tests need (python.txt). Creates its environment outside the checkout if it is
# missing or incomplete.
set -euo pipefail
cd "$(dirname "$0")"

caches="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/millstream"
dir="$caches/python-$(sha256sum python.txt | cut -c 1-12)"
python="$dir/bin/python"

is_complete() {
    [[ -x $dir/bin/weed ]] && "$python" -c 'import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ["fastavro", "flask_cors", "google.protobuf", "moto.server", "pyarrow", "ziglang"])))' \
        2>/dev/null
}

create() {
    echo "setup: installing the Python packages that tests need, into $dir" >&2
    rm -rf "$dir"
    python3 -m venv "$dir" >&2 && "$python" -m pip install --quiet --no-input --disable-pip-version-check \
        --requirement python.txt >&2
}

if ! is_complete; then
    mkdir -p "$caches"
    # Of two scripts that start at the same time, only one creates the environment.
    exec 9>"$dir.lock"
    flock 9
    is_complete || create || { echo "setup: could not install the packages of scripts/python.txt into $dir; see above" >&2 && exit 1; }
    exec 9>&-
fi
echo "$python"
