# Compiles a workspace of guest plugins to wasm: sourced by the build scripts that have one, runs nothing itself.
#
# build_guests SOURCE OUTPUT BUILD_DIR compiles every folder of SOURCE that has a Cargo.toml with a cdylib into
# OUTPUT/<folder>.wasm; BUILD_DIR is for what is kept between builds. It says one line for each file it made, and
# nothing when nothing changed. `guest_build_name` is how messages name the caller.
# shellcheck shell=sh

guest_toolchain_help='Uses the target wasm32-wasip1 of the Rust toolchain in use. Where that target
is not installed, `rustup target add wasm32-wasip1` installs it. Where that is
impossible (no rustup, no network to its server), Debian'"'"'s packages are used
instead: rustc-web, cargo-web, rust-web-src, lld, wasi-libc. They are installed
with apt-get if missing, which needs root (or sudo without a password); the
first build then takes about a minute longer, for the standard library.

Environment:
  CODITECT_WASM_TOOLCHAIN=rustup|debian   use this one, whatever is installed'

target=wasm32-wasip1

fail() {
    echo "$guest_build_name: $*" >&2
    exit 1
}

# Runs a command whose output matters only if it fails.
quietly() {
    mkdir -p "$build_dir"
    if ! "$@" >"$build_dir/build.log" 2>&1; then
        cat "$build_dir/build.log" >&2
        fail "failed: $*"
    fi
}

# Up to date: every output exists and nothing of the sources is newer than the stamp.
up_to_date() {
    [ -f "$stamp" ] || return 1
    for guest in $guests; do
        [ -f "$output/$guest.wasm" ] || return 1
    done
    [ -z "$(find "$source" -type f -newer "$stamp" -print 2>/dev/null | head -n 1)" ]
}

rustup_has_target() {
    command -v rustc >/dev/null 2>&1 && [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]
}

# The newest lld that apt knows or that is installed, as a version number.
lld_version() {
    apt-cache search --names-only '^lld-[0-9]+$' | sed -n 's/^lld-\([0-9]*\) .*/\1/p' | sort -n | tail -n 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Installs what is missing of Debian's packages and sets `lld`.
debian_packages() {
    command -v apt-get >/dev/null 2>&1 ||
        fail "no $target target: run 'rustup target add $target' (there is no apt-get to fall back on)"
    lld=$(lld_version)
    if [ -z "$lld" ]; then
        quietly as_root apt-get update
        lld=$(lld_version)
    fi
    [ -n "$lld" ] || fail "apt knows no lld-NN package"
    missing=
    for package in rustc-web cargo-web rust-web-src "lld-$lld" wasi-libc; do
        case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
            installed) ;;
            *) missing="$missing $package" ;;
        esac
    done
    [ -n "$missing" ] || return 0
    echo "$guest_build_name: installing$missing" >&2
    export DEBIAN_FRONTEND=noninteractive
    # Package lists may be older than the packages; the second try has fresh ones.
    # shellcheck disable=SC2086
    as_root apt-get install -y --no-install-recommends $missing >/dev/null 2>&1 || {
        quietly as_root apt-get update
        # shellcheck disable=SC2086
        quietly as_root apt-get install -y --no-install-recommends $missing
    }
}

build_with_rustup() {
    quietly env CARGO_TARGET_DIR="$build_dir/rustup" \
        cargo build --manifest-path "$source/Cargo.toml" --release --locked --target "$target"
    built=$build_dir/rustup
}

# Debian's rustc-web has no standard library for the target, but its source; RUSTC_BOOTSTRAP allows -Zbuild-std.
# Variables that choose another compiler or add flags for the host are taken out.
build_with_debian() {
    debian_packages
    quietly env -u RUSTUP_TOOLCHAIN -u RUSTFLAGS -u RUSTC_WRAPPER -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_TARGET \
        RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
        CARGO_TARGET_DIR="$build_dir/debian" \
        CARGO_TARGET_WASM32_WASIP1_LINKER="wasm-ld-$lld" \
        CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS="-Clink-self-contained=no -Lnative=/usr/lib/wasm32-wasi -Clink-arg=--allow-undefined" \
        /usr/bin/cargo build --manifest-path "$source/Cargo.toml" --release --locked --target "$target" \
        -Zbuild-std=std,panic_abort
    built=$build_dir/debian
}

build_guests() {
    source=$1 output=$2 build_dir=$3
    stamp=$build_dir/stamp
    # Crates that only others use have no cdylib and no file of their own.
    guests=$(cd "$source" && grep -l '"cdylib"' -- */Cargo.toml | while read -r manifest; do dirname "$manifest"; done)
    [ -n "$guests" ] || fail "no guest found in $source"
    if up_to_date; then
        return 0
    fi
    mkdir -p "$build_dir" "$output"
    # Taken before the build: what changes while it runs is built next time.
    touch "$stamp.new"
    case "${CODITECT_WASM_TOOLCHAIN-}" in
        rustup) build_with_rustup ;;
        debian) build_with_debian ;;
        '')
            if rustup_has_target; then
                build_with_rustup
            elif command -v rustup >/dev/null 2>&1 && timeout 60 rustup target add "$target" >/dev/null 2>&1; then
                build_with_rustup
            else
                build_with_debian
            fi
            ;;
        *) fail "CODITECT_WASM_TOOLCHAIN is '$CODITECT_WASM_TOOLCHAIN'; it can be rustup or debian" ;;
    esac

    for guest in $guests; do
        from=$built/$target/release/$(echo "$guest" | tr - _).wasm
        [ -f "$from" ] || fail "$guest was not built: $from is missing"
        # Moved into place, so that a reader sees the old file or the new one.
        cp "$from" "$output/.$guest.wasm.new"
        mv "$output/.$guest.wasm.new" "$output/$guest.wasm"
        echo "$output/$guest.wasm ($(wc -c <"$output/$guest.wasm") bytes)"
    done
    mv "$stamp.new" "$stamp"
}
