#!/usr/bin/env bash
# Builds task modules: every crate in tasks/ (or only those named) becomes tasks/<name>.wasm.
#
#   tasks/build.sh              all of them
#   tasks/build.sh http-request only this one
#
# The target wasm32-wasip2 comes from, in this order: the active Rust toolchain; `rustup target add`;
# a private toolchain unpacked from Debian's packages into the cache folder (nothing is installed), which
# is used again as long as it is there. FLOWWEAVER_TASKS_TOOLCHAIN=debian takes the third way at once.
# A module file is replaced, atomically, only when its bytes changed: a watcher sees no needless event.
set -euo pipefail

readonly TARGET=wasm32-wasip2
# A slow or closed network must not hold up the third way for long.
readonly RUSTUP_TIMEOUT=60
# The first Debian suite whose packages hold the standard library for this target.
readonly SUITE=forky
readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root
readonly cache="${XDG_CACHE_HOME:-$HOME/.cache}/flowweaver"
readonly private="$cache/$SUITE-rust"
readonly out="${FLOWWEAVER_TASKS_OUT:-$root/tasks}"

say() { printf 'tasks/build.sh: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# Whether the active toolchain can build for the target.
has_target() {
    local libdir
    libdir=$(cd "$root" && rustc --print target-libdir --target "$TARGET" 2>/dev/null) || return 1
    compgen -G "$libdir/libstd-*.rlib" >/dev/null
}

add_target() {
    command -v rustup >/dev/null || return 1
    (cd "$root" && timeout "$RUSTUP_TIMEOUT" rustup target add "$TARGET") >/dev/null 2>&1 && has_target
}

# apt with a package list, state and cache of its own; proxies and the like stay the machine's.
private_apt() {
    local program=$1
    shift
    "$program" \
        -o Dir::Etc::SourceList="$cache/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State="$cache/apt/state" -o Dir::State::Lists="$cache/apt/state/lists" \
        -o Dir::State::status="$cache/apt/state/status" -o Dir::Cache="$cache/apt/cache" \
        -o Acquire::Languages=none -o APT::Sandbox::User="$(id -un)" "$@"
}

# The mirror that this machine's own apt uses for Debian's main archive.
debian_mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk '$1 !~ /security/ && $1 ~ /\/debian\/?$/ { print $1; exit }'
}

# Unpacks Debian's Rust and what it runs on into $1.
unpack_toolchain() {
    local destination=$1 mirror runtime package
    for tool in apt-get apt-cache dpkg-deb; do
        command -v "$tool" >/dev/null || fail "no $TARGET: rustup cannot add it, and there is no $tool to fetch Debian's"
    done
    [[ $(uname -m) == x86_64 ]] || fail "no $TARGET: rustup cannot add it, and Debian's is fetched for x86_64 only"
    [[ -r $KEYRING ]] || fail "no $TARGET: rustup cannot add it, and $KEYRING is missing"
    mirror=$(debian_mirror)
    [[ -n $mirror ]] || fail "no $TARGET: rustup cannot add it, and apt knows no Debian mirror"

    mkdir -p "$cache/apt/state/lists/partial" "$cache/apt/cache/archives/partial"
    : >"$cache/apt/state/status"
    printf 'deb [signed-by=%s] %s %s main\n' "$KEYRING" "$mirror" "$SUITE" >"$cache/apt/sources.list"
    say "fetching the $TARGET toolchain from Debian $SUITE (once, about 200 MB)"
    private_apt apt-get -qq update >&2 || fail "no $TARGET: Debian's package list cannot be read from $mirror"

    # The runtime library's package is named by version: rustc's library package says which one it is.
    runtime=$(private_apt apt-cache depends libstd-rust-dev | awk '/Depends: libstd-rust-[0-9]/ { print $2; exit }')
    [[ -n $runtime ]] || fail "no $TARGET: Debian $SUITE has no Rust with a runtime library"
    rm -rf "$cache/debs"
    mkdir -p "$cache/debs"
    (cd "$cache/debs" && private_apt apt-get -qq download rustc "$runtime" libstd-rust-dev libstd-rust-dev-wasm32 \
        libc6 libgcc-s1 libstdc++6 zlib1g libzstd1 libllvm22 libxml2-16 libffi8 libedit2 libtinfo6 libz3-4 \
        libbsd0 libmd0 liblzma5) >&2 || fail "no $TARGET: Debian's Rust packages cannot be fetched from $mirror"
    for package in "$cache"/debs/*.deb; do
        dpkg-deb -x "$package" "$destination" || fail "no $TARGET: $package cannot be unpacked"
    done
    rm -rf "$cache/debs"
}

# A compiler that needs nothing of this machine: its own loader, its own libraries.
write_wrapper() {
    cat >"$private/rustc-wasip2.part" <<WRAPPER
#!/bin/sh
exec "$private/usr/lib64/ld-linux-x86-64.so.2" --library-path "$private/usr/lib/x86_64-linux-gnu" \\
    "$private/usr/bin/rustc" --sysroot "$private/usr" "\$@"
WRAPPER
    chmod +x "$private/rustc-wasip2.part"
    mv "$private/rustc-wasip2.part" "$private/rustc-wasip2"
}

# The third way: makes RUSTC and the linker those of the private toolchain.
use_private_toolchain() {
    local unpacked linkers
    mkdir -p "$cache"
    # Two builds at once would fetch twice; the second waits for the first.
    exec 9>"$cache/lock"
    flock 9
    if [[ ! -d $private ]]; then
        rm -rf "$cache"/unpacking.*
        unpacked=$(mktemp -d "$cache/unpacking.XXXXXX")
        unpack_toolchain "$unpacked"
        mv "$unpacked" "$private"
    fi
    [[ -x $private/rustc-wasip2 ]] || write_wrapper
    exec 9>&-

    # Debian's packages hold no component linker; every rustup toolchain does.
    linkers="$(cd "$root" && rustc --print sysroot)/lib/rustlib/x86_64-unknown-linux-gnu/bin"
    [[ -x $linkers/wasm-component-ld && -x $linkers/rust-lld ]] ||
        fail "no $TARGET: the active Rust toolchain has no wasm-component-ld"
    mkdir -p "$cache/bin"
    ln -sfn "$linkers/rust-lld" "$cache/bin/wasm-ld"
    export RUSTC="$private/rustc-wasip2"
    export CARGO_TARGET_WASM32_WASIP2_LINKER="$linkers/wasm-component-ld"
    export PATH="$cache/bin:$PATH"
}

# Puts one module in place if it differs from what is there.
place() {
    local built=$1 module=$2
    if cmp -s "$built" "$module"; then
        return
    fi
    # In the same folder, so that the rename is atomic; hidden, so that no watcher takes it for a module.
    cp "$built" "$out/.${module##*/}.part"
    mv "$out/.${module##*/}.part" "$module"
    say "${module##*/}: $(($(stat -c %s "$module") / 1024)) KiB"
}

main() {
    local names=("$@") packages=() name manifest built
    if [[ ${#names[@]} -eq 0 ]]; then
        for manifest in "$root"/tasks/*/Cargo.toml; do
            [[ -e $manifest ]] || fail "there is no crate in tasks/"
            names+=("$(basename "$(dirname "$manifest")")")
        done
    fi
    for name in "${names[@]}"; do
        [[ -e $root/tasks/$name/Cargo.toml ]] || fail "there is no task crate tasks/$name"
        packages+=(--package "$name")
    done

    if [[ ${FLOWWEAVER_TASKS_TOOLCHAIN:-} == debian ]] || { ! has_target && { [[ -d $private ]] || ! add_target; }; }; then
        use_private_toolchain
    fi

    # A folder of its own: another compiler's artifacts in the usual one would be rebuilt back and forth.
    # Small code loads and compiles faster in the daemon; a task's time goes into its calls.
    export CARGO_TARGET_DIR="$root/target/tasks"
    export CARGO_PROFILE_RELEASE_OPT_LEVEL=s CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1
    export CARGO_PROFILE_RELEASE_PANIC=abort CARGO_PROFILE_RELEASE_STRIP=true CARGO_PROFILE_RELEASE_DEBUG=false
    # The same source gives the same bytes, and so the same digest, wherever it is checked out.
    printf -v CARGO_ENCODED_RUSTFLAGS '%s\x1f%s' "--remap-path-prefix=$root=/flowweaver" \
        "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
    export CARGO_ENCODED_RUSTFLAGS
    (cd "$root" && cargo build --quiet --release --locked --lib --target "$TARGET" "${packages[@]}")

    mkdir -p "$out"
    for name in "${names[@]}"; do
        built="$CARGO_TARGET_DIR/$TARGET/release/${name//-/_}.wasm"
        [[ -e $built ]] || fail "tasks/$name has no cdylib; its Cargo.toml needs [lib] crate-type = [\"cdylib\"]"
        place "$built" "$out/$name.wasm"
    done
}

main "$@"
