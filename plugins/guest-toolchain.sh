# Compiles a workspace of guest plugins to wasm: sourced by the build scripts that have one, runs nothing itself.
#
# build_guests SOURCE OUTPUT BUILD_DIR compiles every folder of SOURCE whose Cargo.toml has a cdylib into
# OUTPUT/<folder>.wasm; BUILD_DIR is for what is kept between builds. It says one line for each file it made, and
# nothing when nothing changed. `guest_build_name` is how messages name the caller. What is between the two lines below
# is for guests in other languages, too.
# shellcheck shell=sh disable=SC2016,SC2034,SC2154

guest_toolchain_help='Rust: uses the target wasm32-wasip1 of the toolchain in use. Where that target is
not installed, `rustup target add wasm32-wasip1` installs it. Where that is
impossible (no rustup, no network to its server), Debian'"'"'s packages are used
instead: rustc-web, cargo-web, rust-web-src, lld, wasi-libc. They are installed
with apt-get if missing, which needs root (or sudo without a password); the
first build then takes about a minute longer, for the standard library.

Environment:
  CODITECT_WASM_TOOLCHAIN=rustup|debian   use this one for Rust, whatever is installed'

target=wasm32-wasip1

# --- for all languages; `source`, `output` and `build_dir` are as build_guests got them

say() {
    echo "$guest_build_name: $*" >&2
}

fail() {
    say "$*"
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

# Moves a built module into place, so that a reader sees the old file or the new one.
deliver() {
    cp "$1" "$output/.$2.wasm.new"
    mv "$output/.$2.wasm.new" "$output/$2.wasm"
    echo "$output/$2.wasm ($(wc -c <"$output/$2.wasm") bytes)"
}

# The folders of the source that hold a file of this name.
folders_with() {
    (cd "$source" && for file in */"$1"; do [ ! -f "$file" ] || dirname "$file"; done)
}

# Up to date: every output exists, and nothing of the sources is newer than the language's stamp. Cases do not count.
# Arguments: language, guests, files and folders they are built from.
up_to_date() {
    stamp=$build_dir/stamp-$1
    [ -f "$stamp" ] || return 1
    for guest in $2; do
        [ -f "$output/$guest.wasm" ] || return 1
    done
    shift 2
    [ -z "$(cd "$source" && find "$@" -type f ! -name '*.test.toml' -newer "$stamp" -print 2>/dev/null | head -n 1)" ]
}

# A stamp is taken before the build, so that what changes while it runs is built next time.
begin() {
    mkdir -p "$build_dir" "$output"
    touch "$build_dir/stamp-$1.new"
}

finish() {
    mv "$build_dir/stamp-$1.new" "$build_dir/stamp-$1"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Installs those of these Debian packages that are missing.
install_packages() {
    missing=
    for package; do
        case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
            installed) ;;
            *) missing="$missing $package" ;;
        esac
    done
    [ -n "$missing" ] || return 0
    say "installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    # Package lists may be older than the packages; the second try has fresh ones.
    # shellcheck disable=SC2086
    as_root apt-get install -y --no-install-recommends $missing >/dev/null 2>&1 || {
        quietly as_root apt-get update
        # shellcheck disable=SC2086
        quietly as_root apt-get install -y --no-install-recommends $missing
    }
}

# --- Rust

rustup_has_target() {
    command -v rustc >/dev/null 2>&1 && [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]
}

# The newest lld that apt knows or that is installed, as a version number.
lld_version() {
    apt-cache search --names-only '^lld-[0-9]+$' | sed -n 's/^lld-\([0-9]*\) .*/\1/p' | sort -n | tail -n 1
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
    install_packages rustc-web cargo-web rust-web-src "lld-$lld" wasi-libc
}

# Debian's rustc-web has no standard library for the target, but its source; RUSTC_BOOTSTRAP allows -Zbuild-std.
# Variables that choose another compiler or add flags for the host are taken out.
debian_cargo() {
    env -u RUSTUP_TOOLCHAIN -u RUSTFLAGS -u RUSTC_WRAPPER -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_TARGET \
        RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
        CARGO_TARGET_WASM32_WASIP1_LINKER="wasm-ld-$lld" \
        CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS="-Clink-self-contained=no -Lnative=/usr/lib/wasm32-wasi -Clink-arg=--allow-undefined" \
        CARGO_UNSTABLE_BUILD_STD=std,panic_abort \
        /usr/bin/cargo "$@"
}

# Sets `toolchain`, installing it where need be.
choose_toolchain() {
    case "${CODITECT_WASM_TOOLCHAIN-}" in
        rustup | debian) toolchain=$CODITECT_WASM_TOOLCHAIN ;;
        '')
            toolchain=rustup
            rustup_has_target ||
                { command -v rustup >/dev/null 2>&1 && timeout 60 rustup target add "$target" >/dev/null 2>&1; } ||
                toolchain=debian
            ;;
        *) fail "CODITECT_WASM_TOOLCHAIN is '$CODITECT_WASM_TOOLCHAIN'; it can be rustup or debian" ;;
    esac
    [ "$toolchain" = rustup ] || debian_packages
}

run_cargo() {
    if [ "$toolchain" = rustup ]; then cargo "$@"; else debian_cargo "$@"; fi
}

build_guests() {
    source=$1 output=$2 build_dir=$3
    # Crates that only others use have no cdylib and no file of their own.
    guests=$(cd "$source" && grep -l '"cdylib"' -- */Cargo.toml | while read -r manifest; do dirname "$manifest"; done)
    [ -n "$guests" ] || fail "no guest found in $source"
    # shellcheck disable=SC2046
    up_to_date rust "$guests" Cargo.toml Cargo.lock build $(folders_with Cargo.toml) && return 0
    begin rust
    choose_toolchain
    CARGO_TARGET_DIR=$build_dir/$toolchain
    export CARGO_TARGET_DIR
    quietly run_cargo build --manifest-path "$source/Cargo.toml" --release --locked --target "$target"
    unset CARGO_TARGET_DIR
    for guest in $guests; do
        deliver "$build_dir/$toolchain/$target/release/$(echo "$guest" | tr - _).wasm" "$guest"
    done
    finish rust
}
