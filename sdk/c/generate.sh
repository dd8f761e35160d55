#!/bin/sh
# Generates the bindings from `wit/`. Needs wit-bindgen: cargo install wit-bindgen-cli --version 0.61.1 --features c
set -eu
cd "$(dirname "$0")"
wit="../../wit"

for world in transform update update-migrating aggregate cogroup source sink; do
    wit-bindgen c --world "$world" --rename-world wire --no-object-file --out-dir "generated/$world" "$wit"
done
cat "$wit"/*.wit > generated/made-of.wit
