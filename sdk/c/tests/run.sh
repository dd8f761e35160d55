#!/bin/sh
# Tests the SDK on this machine, with sanitizers if the compiler supports them. Each file here is a program. Each test_*.c of the
# templates is a program with its plugin.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
flags="-std=c99 -g -O1 -Wall -Wextra -Werror"
echo 'int main(void) { return 0; }' > "$work/empty.c"
sanitizers="-fsanitize=address,undefined -fno-sanitize-recover"
${CC:-cc} $sanitizers "$work/empty.c" -o "$work/empty" 2> /dev/null && flags="$flags $sanitizers"

failed=0
try() {
    name=$1
    shift
    echo "$name"
    ${CC:-cc} $flags -Iinclude "$@" src/*.c src/native/*.c -lm -o "$work/test"
    (cd tests && "$work/test") || failed=1
}

for file in tests/*.c; do
    try "$file" "$file"
done
for folder in template/*; do
    try "$folder" "$folder"/*.c
done
exit $failed
