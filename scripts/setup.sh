#!/usr/bin/env bash
# Installs the missing tools for building and testing; does nothing if none is missing. Checks the tools themselves on every run.
# `setup.sh tests` also installs the tools that only tests need.
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

# Whether this rustc or cargo is installed and new enough.
new_enough() {
    local version
    version=$("$1" --version 2>/dev/null | awk '{ print $2 }') || return 1
    [[ -n $version && $(printf '%s\n' "$rust_min" "$version" | sort -V | head -n 1) == "$rust_min" ]]
}

have_rust() { new_enough cargo && new_enough rustc; }

# Usually, the compiler has its own standard library for wasm.
have_wasm_target() {
    local dir
    dir=$(rustc --print target-libdir --target "$wasm_target" 2>/dev/null) || return 1
    compgen -G "$dir/libstd-*.rlib" >/dev/null
}

# Debian instead has a compiler, the source of its standard library, and a linker for wasm.
have_wasm_from_debian() {
    new_enough /usr/bin/rustc && new_enough /usr/bin/cargo || return 1
    [[ -e $(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/std/Cargo.toml ]] || return 1
    have wasm-ld-22 || have rust-lld
}

have_wasm() { have_wasm_target || have_wasm_from_debian; }

# `nc -k` keeps listening after a client disconnects; the traditional nc does not support it.
have_nc() { have nc.openbsd || { have nc && { nc -h 2>&1 || true; } | grep -q -- '-[A-Za-z]*k'; }; }

# Debian's Python lacks the modules that create virtual environments.
have_venv() { have python3 && python3 -c 'import ensurepip, venv' 2>/dev/null; }

# Clang with a linker and a C library for wasm.
have_clang() { have clang && have wasm-ld && [[ -e $(clang --target=wasm32-wasi -print-file-name=libc.a) ]]; }

# Clang's runtime library for wasm, a package of the same version.
have_clang_library() { [[ -e $(clang --target=wasm32-wasi -print-libgcc-file-name) ]]; }

# Java runs Kafka and other servers; javac compiles Java programs of the tests.
java_min=17
have_java() {
    local version
    have javac || return 1
    version=$(java -version 2>&1 | sed -n 's/^[a-z]* version "\([0-9]*\).*/\1/p') || return 1
    [[ -n $version && $version -ge $java_min ]]
}

# OpenSSL's headers and libraries. If the libraries are static, they become part of the program (host/connectors/build.rs).
have_openssl() { have cc && echo '#include <openssl/ssl.h>' | cc -E -x c - >/dev/null 2>&1; }

have_postgres() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }

# Keeps Debian's package from starting a PostgreSQL server for the whole machine: tests start their own servers.
prepare_postgres() {
    local conf=/etc/postgresql-common/createcluster.conf root=()
    [[ -e $conf ]] && return
    [[ $(id -u) == 0 ]] || root=(sudo)
    "${root[@]}" mkdir -p "${conf%/*}" && echo 'create_main_cluster = false' | "${root[@]}" tee "$conf" >/dev/null ||
        say "cannot write $conf; installing PostgreSQL may start a server for the whole machine"
}

# Keeps Debian's package from starting a registry for the whole machine: systemd does not start a masked unit.
prepare_registry() {
    local unit=/etc/systemd/system/docker-registry.service root=()
    [[ -e $unit || ! -d ${unit%/*} ]] && return
    [[ $(id -u) == 0 ]] || root=(sudo)
    "${root[@]}" ln -s /dev/null "$unit" || say "cannot write $unit; installing docker-registry may start a server"
}

install_packages() {
    have apt-get || fail "missing: $*" "These are Debian packages, and apt-get is missing here." \
        "Install these tools instead: compilers for C and C++, make, pkg-config, OpenSSL's development files, Rust $rust_min or newer (https://rustup.rs)," \
        "its wasm target (rustup target add $wasm_target), OpenBSD's nc, PostgreSQL, Python with venv," \
        "clang with lld and wasi-libc, docker-registry, openssl, Java $java_min or newer, Maven, zsh, fish, and man."
    local root=()
    if [[ $(id -u) != 0 ]]; then
        have sudo || fail "missing: $*" "Install these packages as root (sudo is missing)."
        root=(sudo)
    fi
    say "installing with apt-get: $*"
    local apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
    # Package lists may be outdated or missing: if the installation fails, updates them and retries.
    "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null 2>&1 ||
        { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null; } ||
        fail "apt-get could not install: $*" "Install them manually, then try again."
}

packages=()
have cc || packages+=(gcc libc6-dev)
# The Kafka client library (librdkafka) has a C++ wrapper, and finds OpenSSL with pkg-config.
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
    # For the tests of shell completions and manual pages.
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
    say "installing the target $wasm_target with rustup"
    timeout "$rustup_seconds_max" rustup target add "$wasm_target" >/dev/null 2>&1 ||
        say "rustup cannot install it here; using Debian's packages"
fi
have_wasm || packages+=(rustc-web cargo-web rust-web-src lld-22)

if ((${#packages[@]} > 0)); then
    mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
    install_packages "${packages[@]}"
    hash -r
    have_rust || fail "Rust is still older than $rust_min after the installation: $(cargo --version 2>&1 | head -n 1)"
    have_wasm || fail "the wasm target is still missing after the installation." \
        "Try: rustup target add $wasm_target" "or, on Debian 12: apt-get install rustc-web cargo-web rust-web-src lld-22"
    have_nc || fail "nc with -k is still missing after the installation; install netcat-openbsd."
    [[ ${1:-} != tests ]] || have_postgres || fail "PostgreSQL is still missing in /usr/lib/postgresql after the installation; install postgresql."
    say "done"
fi

if [[ ${1:-} == tests ]]; then
    have docker-registry || fail "docker-registry is still missing after the installation; install docker-registry."
    have_clang || fail "clang for wasm is still missing after the installation; install clang, lld and wasi-libc."
    have_java || fail "Java $java_min or newer is still missing after the installation; install openjdk-$java_min-jdk-headless."
    have_clang_library || install_packages "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev-wasm32"
    scripts/python.sh >/dev/null
fi
