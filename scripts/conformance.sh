#!/usr/bin/env bash
# Prints the components of the conformance suite that other engines are tried with, as <language>=<plugin>=<component> in lines: those that
# its own tests have kept, or else built now.
#   scripts/conformance.sh MILLSTREAM PLUGIN…
set -euo pipefail

program=$(realpath "${1:?which millstream}")
shift
root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}

for language in rust python js go c; do
    for plugin in "$@"; do
        folder="$root/tests/conformance/$plugin/$language"
        [[ -d $folder ]] || continue
        kept=("$target/conformance/$language/$plugin"-*.wasm)
        component="$folder/conformance-$plugin.wasm"
        if [[ -f ${kept[0]} ]]; then
            component=${kept[0]}
        elif [[ ! -f $component ]]; then
            "$program" build "$folder" >&2
        fi
        echo "$language=$plugin=$component"
    done
done
