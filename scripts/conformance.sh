#!/usr/bin/env bash
# Prints components of the conformance suite, to test them in other engines: one <language>=<plugin>=<component> per line. Uses the
# components that the suite's own tests left in the target directory; builds the others.
#   scripts/conformance.sh MILLSTREAM PLUGIN…
set -euo pipefail

program=$(realpath "${1:?missing argument MILLSTREAM}")
shift
root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}

for language in rust python js go c; do
    for plugin in "$@"; do
        dir="$root/tests/conformance/$plugin/$language"
        [[ -d $dir ]] || continue
        kept=("$target/conformance/$language/$plugin"-*.wasm)
        component="$dir/conformance-$plugin.wasm"
        if [[ -f ${kept[0]} ]]; then
            component=${kept[0]}
        elif [[ ! -f $component ]]; then
            "$program" build "$dir" >&2
        fi
        echo "$language=$plugin=$component"
    done
done
