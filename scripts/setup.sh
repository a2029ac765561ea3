#!/usr/bin/env bash
# Installs what building, testing and the demo need: packages of Debian 12 or newer, Rust's library
# for programs on threads, and cargo-nextest. Quick when everything is there. Without the right to install packages it prints
# the command that does, and fails.
set -euo pipefail

packages=(
    # Guests in C and C++, and the instrumentation that lets them move.
    clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32 libc++-19-dev-wasm32 libc++abi-19-dev-wasm32
    binaryen
    # Programs of the host that link C.
    gcc libc6-dev
    # The camera decodes with ffmpeg; dig and nsupdate test our DNS; runc is a peer in benchmarks;
    # our answers to queries are compared with those of prometheus.
    ffmpeg bind9-dnsutils runc prometheus
    # Clients of the S3 endpoint, and what Python's are installed with.
    s3cmd rclone python3-venv
    # The browser that the dashboard is tested in.
    chromium
    ca-certificates curl git
)
# What Rust programs with OpenMP are built for.
guest_target=wasm32-wasip1-threads
nextest_version=0.9.143

say() { echo "setup: $*" >&2; }
fail() { say "$*"; exit 1; }

is_debian() {
    [ -r /etc/os-release ] || return 1
    # shellcheck disable=SC1091
    (. /etc/os-release && [ "${ID:-}" = debian ] && [ "${VERSION_ID:-99}" -ge 12 ])
}

# The packages that are not installed, one a line.
missing_packages() {
    local package
    for package in "${packages[@]}"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] ||
            echo "$package"
    done
}

install_packages() {
    local missing as_root=()
    mapfile -t missing < <(missing_packages)
    [ "${#missing[@]}" -gt 0 ] || return 0
    say "missing Debian packages: ${missing[*]}"
    local command="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
    if [ "$(id -u)" -ne 0 ]; then
        as_root=(sudo -n)
        "${as_root[@]}" true 2>/dev/null || fail "run this as root, then try again: $command"
    fi
    say "installing them"
    export DEBIAN_FRONTEND=noninteractive
    "${as_root[@]}" apt-get -qq update ||
        fail "the package lists cannot be fetched: see above, then run as root: $command"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
        "${missing[@]}" >/dev/null </dev/null || fail "that failed: see above, then run as root: $command"
}

check_rust() {
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    command -v cargo >/dev/null || fail "Rust is missing: install $wanted or newer from https://rustup.rs"
    found=$(rustc --version | cut -d' ' -f2)
    [ "$(printf '%s\n' "$wanted" "${found%%-*}" | sort -V | head -n1)" = "$wanted" ] ||
        fail "rustc is $found, and this needs $wanted or newer: rustup update"
    cargo fmt --version >/dev/null 2>&1 || fail "rustfmt is missing: rustup component add rustfmt"
    cargo clippy --version >/dev/null 2>&1 || fail "clippy is missing: rustup component add clippy"
}

# Only Rust programs on threads need it; their tests are skipped without it.
install_guest_target() {
    [ ! -d "$(rustc --print sysroot)/lib/rustlib/$guest_target/lib" ] || return 0
    say "installing Rust's library for $guest_target"
    rustup --quiet target add "$guest_target" </dev/null ||
        say "that failed; Rust programs on threads cannot be built: rustup target add $guest_target"
}

install_nextest() {
    cargo nextest --version >/dev/null 2>&1 && return 0
    say "installing cargo-nextest $nextest_version; this takes some minutes"
    cargo install --locked --quiet cargo-nextest --version "$nextest_version" </dev/null
}

cd "$(dirname "$0")/.."
if is_debian; then
    install_packages
else
    say "this is not Debian 12 or newer: install what these packages hold yourself: ${packages[*]}"
fi
check_rust
install_guest_target
install_nextest
