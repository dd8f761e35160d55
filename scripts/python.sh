#!/usr/bin/env bash
# Prints the path of a Python that has what tests need (python.txt), outside the checkout. Makes it where it is missing.
set -euo pipefail
cd "$(dirname "$0")"

caches="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/millstream"
folder="$caches/python-$(sha256sum python.txt | cut -c 1-12)"
python="$folder/bin/python"

whole() {
    [[ -x $folder/bin/weed ]] && "$python" -c 'import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ["fastavro", "flask_cors", "google.protobuf", "moto.server", "pyarrow", "ziglang"])))' \
        2>/dev/null
}

make_it() {
    echo "setup: installing what tests need of Python, into $folder" >&2
    rm -rf "$folder"
    python3 -m venv "$folder" >&2 && "$python" -m pip install --quiet --no-input --disable-pip-version-check \
        --requirement python.txt >&2
}

if ! whole; then
    mkdir -p "$caches"
    # Two that start at once must not both make it.
    exec 9>"$folder.lock"
    flock 9
    whole || make_it || { echo "setup: no Python with the packages of scripts/python.txt in $folder" >&2 && exit 1; }
    exec 9>&-
fi
echo "$python"
