#!/usr/bin/env bash
# Installs what building and testing need and this machine lacks; does nothing where nothing is missing. Looks at the
# tools themselves every time, not at a note that they were installed once. `setup.sh tests` also gets what only tests
# need.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:$HOME/.cargo/bin:/usr/sbin:/sbin"

rust_min=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
wasm_target=wasm32-unknown-unknown
rustup_seconds_max=120

say() { printf 'setup: %s\n' "$*"; }

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Whether this rustc or cargo is there and new enough.
new_enough() {
    local version
    version=$("$1" --version 2>/dev/null | awk '{ print $2 }') || return 1
    [[ -n $version && $(printf '%s\n' "$rust_min" "$version" | sort -V | head -n 1) == "$rust_min" ]]
}

have_rust() { new_enough cargo && new_enough rustc; }

# The ordinary way: the compiler's own standard library for wasm.
have_wasm_target() {
    local folder
    folder=$(rustc --print target-libdir --target "$wasm_target" 2>/dev/null) || return 1
    compgen -G "$folder/libstd-*.rlib" >/dev/null
}

# Debian's way: a compiler, the sources of its standard library, and a linker for wasm.
have_wasm_from_debian() {
    new_enough /usr/bin/rustc && new_enough /usr/bin/cargo || return 1
    [[ -e $(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/std/Cargo.toml ]] || return 1
    have wasm-ld-22 || have rust-lld
}

have_wasm() { have_wasm_target || have_wasm_from_debian; }

# `nc -k` keeps listening after a client has gone; the traditional nc cannot.
have_nc() { have nc.openbsd || { have nc && { nc -h 2>&1 || true; } | grep -q -- '-[A-Za-z]*k'; }; }

# Debian's Python comes without the part that makes environments.
have_venv() { have python3 && python3 -c 'import ensurepip, venv' 2>/dev/null; }

# Clang with a linker and a C library for wasm.
have_clang() { have clang && have wasm-ld && [[ -e $(clang --target=wasm32-wasi -print-file-name=libc.a) ]]; }

# The part of clang's own library that is for wasm: a package of the same version.
have_clang_library() { [[ -e $(clang --target=wasm32-wasi -print-libgcc-file-name) ]]; }

# What Kafka's broker and other servers run on, with the compiler for the tests' own programs.
java_min=17
have_java() {
    local version
    have javac || return 1
    version=$(java -version 2>&1 | sed -n 's/^[a-z]* version "\([0-9]*\).*/\1/p') || return 1
    [[ -n $version && $version -ge $java_min ]]
}

# OpenSSL as libraries to link with. Static ones become part of the program (host/connectors/build.rs).
have_openssl() { have cc && echo '#include <openssl/ssl.h>' | cc -E -x c - >/dev/null 2>&1; }

have_postgres() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }

# Tests start servers of their own; Debian's package would start one for the whole machine as well.
prepare_postgres() {
    local conf=/etc/postgresql-common/createcluster.conf root=()
    [[ -e $conf ]] && return
    [[ $(id -u) == 0 ]] || root=(sudo)
    "${root[@]}" mkdir -p "${conf%/*}" && echo 'create_main_cluster = false' | "${root[@]}" tee "$conf" >/dev/null ||
        say "cannot write $conf; installing PostgreSQL may start a server for the whole machine"
}

# The same with the registry. Where systemd is told so, it does not start it.
prepare_registry() {
    local unit=/etc/systemd/system/docker-registry.service root=()
    [[ -e $unit || ! -d ${unit%/*} ]] && return
    [[ $(id -u) == 0 ]] || root=(sudo)
    "${root[@]}" ln -s /dev/null "$unit" || say "cannot write $unit; installing docker-registry may start a server"
}

install_packages() {
    have apt-get || fail "missing: $*" "These are Debian's package names, and there is no apt-get here." \
        "Install what they hold: compilers for C and C++, make, pkg-config, OpenSSL to link with, Rust $rust_min or newer (https://rustup.rs)," \
        "its wasm target (rustup target add $wasm_target), OpenBSD's nc, PostgreSQL, Python with venv," \
        "clang with lld and wasi-libc, docker-registry, openssl, Java $java_min or newer, Maven, zsh, fish, and man."
    local root=()
    if [[ $(id -u) != 0 ]]; then
        have sudo || fail "missing: $*" "Install these packages as root (sudo is not there)."
        root=(sudo)
    fi
    say "installing with apt-get: $*"
    local apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
    # What is known of packages may be out of date or missing, so a second try asks for it.
    "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null 2>&1 ||
        { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null; } ||
        fail "apt-get could not install: $*" "Install them by hand, then try again."
}

packages=()
have cc || packages+=(gcc libc6-dev)
# What the client of Kafka is compiled with: its library has a wrapper in C++, and finds OpenSSL by pkg-config.
have c++ || packages+=(g++)
have make || packages+=(make)
have pkg-config || packages+=(pkg-config)
have_openssl || packages+=(libssl-dev)
have_nc || packages+=(netcat-openbsd)
if [[ ${1:-} == tests ]]; then
    have_venv || packages+=(python3 python3-venv)
    have_clang || packages+=(clang lld wasi-libc)
    if ! have docker-registry; then
        packages+=(docker-registry)
        ! have apt-get || prepare_registry
    fi
    have openssl || packages+=(openssl)
    have_java || packages+=(default-jdk-headless)
    have mvn || packages+=(maven)
    # Completions are asked for in each shell, and the manual is read.
    have zsh || packages+=(zsh)
    have fish || packages+=(fish)
    have man || packages+=(man-db)
    if ! have_postgres; then
        packages+=(postgresql)
        ! have apt-get || prepare_postgres
    fi
fi
if ! have_rust; then
    if have cargo && have rustup; then
        fail "$(cargo --version 2>&1 | head -n 1) is too old: Rust $rust_min or newer is needed. Try: rustup update stable"
    elif [[ $(command -v cargo) == "$HOME"/* ]]; then
        fail "$(command -v cargo) is too old: Rust $rust_min or newer is needed."
    fi
    packages+=(rustc-web cargo-web)
fi
if have_rust && ! have_wasm && have rustup; then
    say "asking rustup for the target $wasm_target"
    timeout "$rustup_seconds_max" rustup target add "$wasm_target" >/dev/null 2>&1 ||
        say "rustup cannot get it here; Debian's packages it is"
fi
have_wasm || packages+=(rustc-web cargo-web rust-web-src lld-22)

if ((${#packages[@]} > 0)); then
    mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
    install_packages "${packages[@]}"
    hash -r
    have_rust || fail "no Rust of version $rust_min or newer after the installation: $(cargo --version 2>&1 | head -n 1)"
    have_wasm || fail "no wasm target after the installation." \
        "Try: rustup target add $wasm_target" "or, on Debian 12: apt-get install rustc-web cargo-web rust-web-src lld-22"
    have_nc || fail "no nc with -k after the installation; install netcat-openbsd."
    [[ ${1:-} != tests ]] || have_postgres || fail "no PostgreSQL in /usr/lib/postgresql after the installation; install postgresql."
    say "done"
fi

if [[ ${1:-} == tests ]]; then
    have docker-registry || fail "no docker-registry after the installation; install docker-registry."
    have_clang || fail "no clang for wasm after the installation; install clang, lld and wasi-libc."
    have_java || fail "no Java $java_min or newer after the installation; install openjdk-$java_min-jdk-headless."
    have_clang_library || install_packages "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev-wasm32"
    scripts/python.sh >/dev/null
fi
