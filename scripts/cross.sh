#!/usr/bin/env bash
# Runs a command with the environment for cross compilation.
#   scripts/cross.sh aarch64-unknown-linux-gnu cargo build --release
# Installs what is missing: a cross compiler and qemu from Debian, Rust's standard library for the target, and OpenSSL for the target,
# which is unpacked outside the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:$HOME/.cargo/bin"

target=${1:?missing argument TARGET, for example aarch64-unknown-linux-gnu}
shift

fail() {
    printf 'cross: %s\n' "$@" >&2
    exit 1
}

case $target in
aarch64-unknown-linux-gnu) architecture=arm64 gnu=aarch64-linux-gnu cross_libraries=libc6-dev-arm64-cross ;;
*) fail "unknown target $target; supported: aarch64-unknown-linux-gnu" ;;
esac

install_compiler() {
    local root=()
    if [[ $(id -u) != 0 ]]; then
        command -v sudo >/dev/null || fail "missing: gcc-$gnu g++-$gnu $cross_libraries qemu-user-static; install them as root"
        root=(sudo)
    fi
    echo "cross: installing gcc-$gnu g++-$gnu $cross_libraries qemu-user-static" >&2
    local apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
    local packages=("gcc-$gnu" "g++-$gnu" "$cross_libraries" qemu-user-static)
    "${apt[@]}" install -y --no-install-recommends "${packages[@]}" >/dev/null 2>&1 ||
        { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${packages[@]}" >/dev/null; } ||
        fail "apt-get could not install: ${packages[*]}"
}

{ command -v "$gnu-g++" && command -v qemu-aarch64-static; } >/dev/null || install_compiler
[[ -d $(rustc --print target-libdir --target "$target") ]] || rustup target add "$target" >&2 ||
    fail "rustup cannot get the standard library for $target"

# Downloads OpenSSL for the target with separate package lists, so that this machine's apt lists do not change.
openssl=${XDG_CACHE_HOME:-$HOME/.cache}/millstream/cross/$target
if [[ ! -d $openssl ]]; then
    part=$openssl.part
    rm -rf "$part"
    mkdir -p "$part/apt/lists/partial" "$part/apt/cache/archives/partial"
    apt=(apt-get -qq -o "APT::Architecture=$architecture" -o "APT::Architectures=$architecture" -o "Dir::State::lists=$part/apt/lists"
        -o "Dir::Cache=$part/apt/cache" -o APT::Sandbox::User=root)
    "${apt[@]}" update >&2
    (cd "$part/apt" && "${apt[@]}" download libssl-dev >&2) || fail "cannot download libssl-dev of Debian for $architecture"
    dpkg -x "$part"/apt/libssl-dev_*.deb "$part"
    rm -rf "$part/apt"
    mv "$part" "$openssl"
fi

variable=${target//-/_}
export CARGO_BUILD_TARGET=$target
export "CARGO_TARGET_${variable^^}_LINKER=$gnu-gcc" "CARGO_TARGET_${variable^^}_RUNNER=qemu-aarch64-static -L /usr/$gnu"
export "CC_$variable=$gnu-gcc" "CXX_$variable=$gnu-g++" "AR_$variable=$gnu-ar"
# The configure script of librdkafka reads only these names. HOST_* compile build scripts, which run on this machine.
export CC=$gnu-gcc CXX=$gnu-g++ AR=$gnu-ar STRIP=$gnu-strip HOST_CC=cc HOST_CXX=c++ HOST_AR=ar
export CFLAGS="-g0 -I$openssl/usr/include -I$openssl/usr/include/$gnu" LDFLAGS="-L$openssl/usr/lib/$gnu"
export OPENSSL_STATIC=1 "${variable^^}_OPENSSL_LIB_DIR=$openssl/usr/lib/$gnu"
# openssl/opensslconf.h is in the include directory of the target (in CFLAGS), the other headers are here.
export "${variable^^}_OPENSSL_INCLUDE_DIR=$openssl/usr/include"
export PKG_CONFIG_ALLOW_CROSS=1 PKG_CONFIG_LIBDIR="$openssl/usr/lib/$gnu/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$openssl"
exec "$@"
